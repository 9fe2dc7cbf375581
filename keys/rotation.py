"""Which roots this node has seen: the network's first one, its successors, and what they say.

A *line* is the certificates of the roots, newest first, down to the first one, whose key's
fingerprint is the network id. Each successor is signed by the root before it and by itself
(`keys.certificate`), so a line proves itself to everybody who knows the network id.

Who has seen a successor refuses chains of an older root once the time has passed that the successor
gives them, and for ever refuses another successor of the same number: the first one seen counts,
and two are an alarm, because they mean that the old root's keys are in two hands.

What this module does not know: whether a line's signatures hold (`keys.trust` has checked that
before `learn` is called), where it is stored, clocks.

Invariants: a line that was learned is kept durably before it counts; it only ever grows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keys.canonical import NotCanonical, decode, encode
from keys.certificate import MAX_ROTATIONS, Certificate
from keys.identity import encode_id
from keys.refusals import CertificateMalformed, RootSuperseded, RotationConflict

MAX_LINE_BYTES: Final = 4500  # leaves the certificates of issuer and peer their room in a chain


class RootsSeen:
    """The longest line seen. `keep` stores its bytes durably, before it counts."""

    def __init__(
        self,
        roots: tuple[Certificate, ...] = (),
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        self._roots = roots
        self._keep = keep

    def __repr__(self) -> str:
        return f"RootsSeen(rotation {self.number})"

    @property
    def roots(self) -> tuple[Certificate, ...]:
        """Newest first; empty while only the network id is known."""
        return self._roots

    @property
    def number(self) -> int:
        """Of how many rotations we know."""
        return max(0, len(self._roots) - 1)

    def judge(self, roots: tuple[Certificate, ...], now_ms: int, skew_ms: int) -> int | None:
        """Until when a chain of this line counts, or None if its root is the newest we know.

        Raises:
            RotationConflict: it holds another successor than we have seen.
            RootSuperseded: its root has a successor, and the time for old chains is over.
        """
        self._check_same(roots)
        end_ms = self.ends_ms(len(roots))
        if end_ms is not None and now_ms > end_ms + skew_ms:
            raise RootSuperseded(len(roots) - 1, self.number, now_ms - end_ms)
        return end_ms

    def _check_same(self, roots: tuple[Certificate, ...]) -> None:
        ours, theirs = self._roots[::-1], roots[::-1]
        for number, (known, shown) in enumerate(zip(ours, theirs, strict=False)):
            if known.public_key != shown.public_key:
                raise RotationConflict(number, encode_id(known.key_id), encode_id(shown.key_id))

    def successor_of(self, roots: tuple[Certificate, ...]) -> Certificate | None:
        """The root that we know to follow the newest of this line."""
        return self._roots[-1 - len(roots)] if len(roots) < len(self._roots) else None

    def ends_ms(self, length: int) -> int | None:
        """Until when chains of a line of so many roots count; None while its newest is the last."""
        if length >= len(self._roots):
            return None
        successor = self._roots[-1 - length].rotation
        assert successor is not None, "every root of a line but the first one is a successor"
        return successor.old_until_ms

    def learn(self, roots: tuple[Certificate, ...]) -> bool:
        """Take in a line whose signatures were verified. True if it was news.

        Raises:
            RotationConflict: another one was learned since it was judged; that one stays.
            HomeUnreadable: it could not be kept, and does not count.
        """
        if len(roots) <= max(1, len(self._roots)):
            return False
        self._check_same(roots)
        if self._keep is not None:
            self._keep(encode_line(roots))
        self._roots = roots
        return True


def encode_line(roots: tuple[Certificate, ...]) -> bytes:
    return encode([each.raw for each in roots])


def decode_line(data: bytes) -> tuple[Certificate, ...]:
    """
    Raises:
        CertificateRefused: not a list of certificates.
    """
    try:
        items = decode(data, MAX_LINE_BYTES)
    except NotCanonical as error:
        raise CertificateMalformed(f"the line of roots is {error}") from error
    if not isinstance(items, list) or not all(type(item) is bytes for item in items):
        raise CertificateMalformed("the line of roots is not a list of certificates")
    if not 1 <= len(items) <= 1 + MAX_ROTATIONS:
        raise CertificateMalformed(f"the line has {len(items)} roots")
    return tuple(Certificate.decode(item) for item in items)
