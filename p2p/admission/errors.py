"""Errors of introductions, below those of `p2p.errors`.

    WorldError
    |-- IntroductionFailed           definite: one door said no, or did not answer
    |   `-- WrongNetwork             that door belongs to another network
    `-- JoinFailed                   no door of the ticket let us in; definite unless one was asked

`IntroductionFailed.reason` is a word of `RefusalCode`.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.admission.refusals import Refusal, RefusalCode
from p2p.errors import IntroductionFailed, WorldError

# Refusals that another address of the ticket would only repeat; the first line of the message.
_TELLING = (
    RefusalCode.TICKET_USED,
    RefusalCode.TICKET_EXPIRED,
    RefusalCode.TICKET_WRONG_SECRET,
    RefusalCode.TICKET_UNKNOWN,
    RefusalCode.JOIN_REFUSED,
    RefusalCode.BAD_GRANT,
    RefusalCode.WRONG_NETWORK,
)

_NOBODY_THERE = (RefusalCode.UNREACHABLE, RefusalCode.DEADLINE, RefusalCode.NOT_ISSUER)


class WrongNetwork(IntroductionFailed):
    """Two networks on one LAN never mix; this is how one notices the other."""


class JoinFailed(WorldError):
    """`failures` has one entry for each door that was tried."""

    def __init__(self, failures: Sequence[IntroductionFailed], *, asked: bool) -> None:
        tried = sorted(failures, key=_telling_first)
        lines = "; ".join(f"{each.address}: {each.detail}" for each in tried)
        super().__init__(
            f"could not join: {lines or 'the ticket names no address'}. {_advice(tried)}"
        )
        self.failures = tuple(tried)
        # Instance over class attribute: a request whose answer was lost may have used the ticket.
        # The same key may use it again.
        self.definite = not asked

    @property
    def reason(self) -> str:
        """The most telling reason of all doors."""
        return self.failures[0].reason if self.failures else RefusalCode.UNREACHABLE.value


def failure_of(address: str, refusal: Refusal) -> IntroductionFailed:
    """The error that a refusal becomes for whoever asked."""
    detail = refusal.text or refusal.code.value
    if refusal.theirs:
        detail = f"it refused ({refusal.code.value}): {detail}"
    kind = WrongNetwork if refusal.code is RefusalCode.WRONG_NETWORK else IntroductionFailed
    return kind(address, refusal.code.value, detail)


def _telling_first(failure: IntroductionFailed) -> int:
    words = [code.value for code in _TELLING]
    return words.index(failure.reason) if failure.reason in words else len(words)


def _advice(failures: Sequence[IntroductionFailed]) -> str:
    reasons = {each.reason for each in failures}
    if reasons & {code.value for code in _TELLING[:4]}:
        return "Ask for a new ticket from `conclave invite`"
    if RefusalCode.WRONG_NETWORK.value in reasons:
        return (
            "Is the node that printed the ticket up at that address? "
            "If not, ask for a new ticket from `conclave invite`"
        )
    if reasons <= {code.value for code in _NOBODY_THERE}:
        return "Is the node that printed the ticket running, and is its door port open?"
    return "Run the same command again to retry with the same key"
