"""The proposer's side of one vote: asks, counts, and hands out the certificate.

    Opened              -> AskVoter for each voter
    BallotReceived      -> EvidenceFound | Refused, then Decided or CannotPass if that follows
    ExpiryDecided       -> Expired
    Tick                -> AskVoter for whoever is silent, AskExpiry once the deadline has passed

A deadline ends nothing (V7): when it has passed, AskExpiry asks the caller to have the expiry
decided, in a log that all share, and ExpiryDecided says that it was. For all to record one outcome,
certificates too take effect in the order of that log: the first of the two that stands there holds.

A proposer that restarts makes a new collector of the same signed proposal: every voter answers with
the ballot it has. Whoever holds the signed proposal can collect, not the proposer alone.

What this module does not know: how anything travels. `sender` is whom the transport authenticated;
a ballot counts whoever brings it, for its voter signed it.

Invariants: `Decided` and `Expired` come once, one of them at most. No signature is checked of a
ballot that changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.votes.ballot import Ballot, check_slot
from consensus.votes.certificate import QuorumCertificate
from consensus.votes.errors import BallotFault, BallotRefused
from consensus.votes.evidence import Evidence
from consensus.votes.question import SignedProposal, Slot
from consensus.votes.signing import SignatureCheck
from consensus.votes.tally import Added, ExpiryDecided, Status, Tally


@dataclass(frozen=True, slots=True)
class Opened:
    """The vote begins now."""


@dataclass(frozen=True, slots=True)
class BallotReceived:
    """Bytes that are said to be a ballot, from an authenticated peer."""

    sender: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Opened | BallotReceived | ExpiryDecided | Tick


@dataclass(frozen=True, slots=True)
class AskVoter:
    """Send the signed proposal to this voter, which may be this node itself."""

    voter: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """The vote is over, and this proves it."""

    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True)
class Expired:
    """The vote is over without an outcome, as was decided."""

    decided: ExpiryDecided


@dataclass(frozen=True, slots=True)
class AskExpiry:
    """The deadline has passed: have the expiry of this slot decided, if that is wished."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class CannotPass:
    """Nothing can be approved in this slot any more, though nothing is decided: the caller may have
    its expiry decided early, or wait for the others to reject."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """A voter signed two ballots."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes were no ballot of this vote; to be counted by `fault`. `voter` is what they claim."""

    sender: str
    voter: str | None
    fault: BallotFault
    detail: str


Effect = AskVoter | Decided | Expired | AskExpiry | CannotPass | EvidenceFound | Refused


class Collector:
    """One vote of one proposer. `ask_again_ms` is how long a silent voter is left in peace."""

    def __init__(self, signed: SignedProposal, check: SignatureCheck, *, ask_again_ms: int) -> None:
        assert ask_again_ms > 0, "asking again at once is a flood"
        self.tally = Tally(signed.proposal)
        self._data = signed.to_bytes()
        self._check = check
        self._ask_again_ms = ask_again_ms
        self._next_ask_ms: int | None = None
        self._expiry_ms: int | None = None  # when the deadline will have passed
        self._said_hopeless = False

    @property
    def deadline_ms(self) -> int | None:
        """When it wants a Tick; None before it is opened and once it is over."""
        if self.tally.status is not Status.OPEN or self._next_ask_ms is None:
            return None
        if self._expiry_ms is None:
            return self._next_ask_ms
        return min(self._next_ask_ms, self._expiry_ms)

    def step(self, event: Event, *, now_ms: int) -> list[Effect]:
        """Take an event; what is to be done now, in this order."""
        match event:
            case Opened():
                assert self._next_ask_ms is None, "a vote is opened once"
                self._expiry_ms = now_ms + self.tally.proposal.deadline_ms
                return self._ask(now_ms)
            case BallotReceived(sender, data):
                return self._on_ballot(sender, data)
            case ExpiryDecided():
                return [Expired(event)] if self.tally.expire(event) else []
            case Tick():
                return self._on_tick(now_ms)

    def _ask(self, now_ms: int) -> list[Effect]:
        if self.tally.status is not Status.OPEN:
            return []
        self._next_ask_ms = now_ms + self._ask_again_ms
        return [AskVoter(voter, self._data) for voter in self.tally.waiting_for]

    def _on_tick(self, now_ms: int) -> list[Effect]:
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        effects: list[Effect] = []
        if self._expiry_ms is not None and now_ms >= self._expiry_ms:
            effects.append(AskExpiry(self.tally.proposal.slot))
            self._expiry_ms = now_ms + self._ask_again_ms  # the wish may have been lost
        if self._next_ask_ms is not None and now_ms >= self._next_ask_ms:
            effects += self._ask(now_ms)
        return effects

    def _on_ballot(self, sender: str, data: bytes) -> list[Effect]:
        tally = self.tally
        was_open = tally.status is Status.OPEN
        try:
            ballot = Ballot.from_bytes(data)
            known = tally.known(ballot.voter)
            if tally.is_out(ballot.voter) or (known is not None and known.body == ballot.body):
                return []
            added = tally.add(check_slot(ballot, tally.proposal, self._check))
        except BallotRefused as error:
            return [Refused(sender, error.voter, error.fault, error.detail)]
        effects: list[Effect] = []
        if added is Added.STRAY:
            effects.append(Refused(sender, ballot.voter, BallotFault.DIGEST, ""))
        elif added is Added.EQUIVOCATION:
            (found,) = (each for each in tally.evidence if each.voter == ballot.voter)
            effects.append(EvidenceFound(found))
        if was_open:
            effects += self._consequences()
        return effects

    def _consequences(self) -> list[Effect]:
        if self.tally.status is not Status.OPEN:
            return [Decided(self.tally.certificate())]
        if not self._said_hopeless and not self.tally.can_be_approved:
            self._said_hopeless = True
            return [CannotPass(self.tally.proposal.slot)]
        return []
