"""Whether a sealed message is fresh: not of the future, not too old, not seen before.

    any message                        sealed after the sender's floor
    a start of a sender that we know   its sequence must be new in a window of 1,024
    any other                          sealed within 120 s of now

What was seen is kept in memory. For each sender a *ceiling* is kept on disk: no message that was
taken is younger. After a restart it is the floor, so that what was taken before is refused though
nobody remembers it. A ceiling lies up to `SLACK_MS` above the youngest message, which saves most
writes: after a crash a sender's messages of its last two seconds may be refused once.

A pure core. What this module does not know: files, its own clock, what messages hold.

Invariants: an accepted message is never accepted again by this guard, nor by one that was made from
its `encode()`, whatever was forgotten in between; it holds a bounded number of senders and starts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from keys.canonical import MAX_INTEGER, Fields, NotCanonical, decode, encode
from keys.identity import FINGERPRINT_BYTES, PeerId, decode_id, encode_id
from keys.sealing.message import Stamp
from keys.sealing.refusals import SealedInFuture, SealedReplayed, SealedTooOld
from keys.sealing.statement import MAX_AGE_MS
from keys.trust import SKEW_MS

VERSION: Final = 1
WINDOW: Final = 1024
SLACK_MS: Final = 2_000
FIRST_CONTACT_MS: Final = SKEW_MS
MAX_SENDERS: Final = 200
STARTS_PER_SENDER: Final = 4
MAX_BYTES: Final = 16 * 1024

_MASK: Final = (1 << WINDOW) - 1


class _Start:
    """What was seen of one start of a sender: bit n says that `highest - n` was."""

    __slots__ = ("highest", "seen", "youngest_ms")

    def __init__(self, stamp: Stamp) -> None:
        self.highest = stamp.sequence
        self.seen = 1
        self.youngest_ms = stamp.time_ms

    def problem(self, sequence: int) -> str:
        """Why this one is not taken, or nothing."""
        behind = self.highest - sequence
        if behind >= WINDOW:
            return f"it is {behind} messages behind, too many to know whether it came before"
        return "it came before" if behind >= 0 and self.seen >> behind & 1 else ""

    def take(self, stamp: Stamp) -> None:
        ahead = stamp.sequence - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self.highest = stamp.sequence
        else:
            self.seen |= 1 << -ahead
        self.youngest_ms = max(self.youngest_ms, stamp.time_ms)


class _Sender:
    __slots__ = ("ceiling_ms", "floor_ms", "starts", "youngest_ms")

    def __init__(self, floor_ms: int) -> None:
        self.floor_ms = floor_ms
        self.ceiling_ms = floor_ms
        self.youngest_ms = floor_ms
        self.starts: OrderedDict[bytes, _Start] = OrderedDict()


class ReplayGuard:
    """
    Args:
        floor_ms: nothing is taken that is not younger, from whomever it comes.
        floors_ms: the same for single senders.
    """

    def __init__(self, floor_ms: int = 0, floors_ms: Mapping[PeerId, int] | None = None) -> None:
        self._floor_ms = floor_ms
        self._senders: OrderedDict[PeerId, _Sender] = OrderedDict()
        for sender, its_floor_ms in (floors_ms or {}).items():
            self._senders[sender] = _Sender(max(floor_ms, its_floor_ms))

    def check_age(self, sender: PeerId, stamp: Stamp, now_ms: int) -> None:
        """The part that holds for what is stored too, and may be opened again.

        Raises:
            SealedInFuture, SealedTooOld.
        """
        if stamp.time_ms > now_ms + SKEW_MS:
            raise SealedInFuture(sender, stamp.time_ms - now_ms)
        if stamp.time_ms < now_ms - MAX_AGE_MS:
            raise SealedTooOld(sender, now_ms - stamp.time_ms, MAX_AGE_MS)

    def take(self, sender: PeerId, stamp: Stamp, now_ms: int) -> bool:
        """Take a message whose signature was checked; True when `encode()` must be stored first.

        Raises:
            SealedInFuture, SealedTooOld, SealedReplayed: it is not taken.
        """
        self.check_age(sender, stamp, now_ms)
        known = self._senders.get(sender)
        # Also within a window: it may be one that began after a restart, amid a sender's epoch.
        if stamp.time_ms <= (known.floor_ms if known is not None else self._floor_ms):
            raise SealedReplayed(
                sender, "it is older than what this node remembers; have it sealed again"
            )
        start = known.starts.get(stamp.epoch) if known is not None else None
        if start is None:
            if now_ms - stamp.time_ms > FIRST_CONTACT_MS:
                raise SealedTooOld(sender, now_ms - stamp.time_ms, FIRST_CONTACT_MS)
            known = self._remember(sender)
            start = known.starts[stamp.epoch] = _Start(stamp)
            if len(known.starts) > STARTS_PER_SENDER:
                _, oldest = known.starts.popitem(last=False)
                known.floor_ms = max(known.floor_ms, oldest.youngest_ms)
        else:
            problem = start.problem(stamp.sequence)
            if problem:
                raise SealedReplayed(sender, problem)
            start.take(stamp)
        assert known is not None
        known.starts.move_to_end(stamp.epoch)
        self._senders.move_to_end(sender)
        known.youngest_ms = max(known.youngest_ms, stamp.time_ms)
        if stamp.time_ms <= known.ceiling_ms:
            return False
        known.ceiling_ms = stamp.time_ms + SLACK_MS
        return True

    def _remember(self, sender: PeerId) -> _Sender:
        known = self._senders.get(sender)
        if known is None:
            known = self._senders[sender] = _Sender(self._floor_ms)
            if len(self._senders) > MAX_SENDERS:
                _, oldest = self._senders.popitem(last=False)
                self._floor_ms = max(self._floor_ms, oldest.ceiling_ms)
        return known

    def encode(self, *, is_last: bool = False) -> bytes:
        """The floors for the next start.

        Args:
            is_last: nothing will be taken any more, so that no slack is needed.
        """
        ceilings = {
            sender: known.youngest_ms if is_last else known.ceiling_ms
            for sender, known in self._senders.items()
        }
        rows = [[decode_id(sender), time_ms] for sender, time_ms in ceilings.items()]
        return encode({1: VERSION, 2: self._floor_ms, 3: sorted(rows)})

    @classmethod
    def decode(cls, data: bytes) -> ReplayGuard:
        """
        Raises:
            NotCanonical: it is not what `encode` makes.
        """
        fields = Fields(decode(data, MAX_BYTES))
        fields.integer(1, VERSION, VERSION)
        floor_ms = fields.integer(2)
        floors = dict(_row(item) for item in fields.items(3, MAX_SENDERS))
        fields.finish()
        return cls(floor_ms, floors)

    def check_invariants(self) -> None:
        assert len(self._senders) <= MAX_SENDERS
        for known in self._senders.values():
            assert known.youngest_ms <= max(known.ceiling_ms, known.floor_ms)
            assert len(known.starts) <= STARTS_PER_SENDER
            for start in known.starts.values():
                assert start.seen & 1
                assert start.seen <= _MASK


def _row(item: object) -> tuple[PeerId, int]:
    if isinstance(item, list) and len(item) == 2:
        peer, time_ms = item
        is_peer = type(peer) is bytes and len(peer) == FINGERPRINT_BYTES
        if is_peer and type(time_ms) is int and 0 <= time_ms <= MAX_INTEGER:
            return PeerId(encode_id(peer)), time_ms
    raise NotCanonical("a floor is not a peer id and a time")
