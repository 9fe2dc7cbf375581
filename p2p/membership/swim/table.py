"""Everything that was said and counts: a lattice, so that all who heard the same hold the same.

For each subject: its own last word, and the accusations of exactly that number, at most
`MAX_ACCUSERS` of them, those of the lowest keys. Merging is commutative, associative and idempotent
(a model test holds it to that), whatever is lost, repeated or reordered on the way:

    alive(i)    replaces all that is said of lower numbers (S2)
    accused(i)  counts beside alive(i) only
    left(i)     replaces alive(i) and its accusations; only a higher number comes after it

Two different `alive(i)` of one number mean that two processes use one key (S5): told, and the one
with the lower mark is kept, so that all keep the same.

What this module does not know: time, verdicts; a death is each member's own conclusion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from keys import PeerId
from p2p.membership.swim.statements import Say, Statement, raw_of

MAX_ACCUSERS = 3
BUCKETS = 64


class Merged(StrEnum):
    """What came of a statement."""

    NEWS = "news"
    CONFLICT = "conflict"  # news of a bad kind; the table may have changed
    KNOWN = "known"
    STALE = "stale"  # of a number that is past, or after a goodbye
    UNPROVEN = "unproven"  # accused of a number that its subject has not said


@dataclass(frozen=True, slots=True)
class Record:
    """What counts about one subject. Never changed, only replaced."""

    word: Statement
    accusations: tuple[Statement, ...]
    print: int  # 64 bits of a hash over what counts

    @property
    def incarnation(self) -> int:
        return self.word.incarnation

    @property
    def has_left(self) -> bool:
        return self.word.say is Say.LEFT

    def statements(self) -> tuple[Statement, ...]:
        return (self.word, *self.accusations)


class Table:
    """See the module."""

    def __init__(self) -> None:
        self._records: dict[PeerId, Record] = {}
        self._buckets = [0] * BUCKETS
        self.digest = 0  # of everything

    def __contains__(self, peer_id: PeerId) -> bool:
        return peer_id in self._records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._records)

    def get(self, peer_id: PeerId) -> Record | None:
        return self._records.get(peer_id)

    def clone(self) -> Table:
        """A table that holds the same, and goes its own way."""
        twin = Table()
        twin._records, twin._buckets = dict(self._records), list(self._buckets)
        twin.digest = self.digest
        return twin

    def holds(self, statement: Statement) -> bool:
        """Whether it still counts."""
        record = self._records.get(statement.subject)
        return record is not None and statement in record.statements()

    def judge(self, statement: Statement) -> Merged:
        """What `merge` would make of it; cheap, so that signatures of old news are not verified."""
        record = self._records.get(statement.subject)
        if statement.say is Say.ACCUSED:
            return _judge_accusation(record, statement)
        if record is None or statement.incarnation > record.incarnation:
            return Merged.NEWS
        if statement.incarnation < record.incarnation:
            return Merged.STALE
        if record.has_left:
            return Merged.KNOWN if statement.say is Say.LEFT else Merged.STALE
        if statement.say is Say.LEFT:
            return Merged.NEWS
        return Merged.KNOWN if statement.mark == record.word.mark else Merged.CONFLICT

    def merge(self, statement: Statement) -> Merged:
        """Take in a statement whose signature is verified."""
        merged = self.judge(statement)
        record = self._records.get(statement.subject)
        if merged is Merged.NEWS and statement.say is Say.ACCUSED:
            assert record is not None
            accusations = sorted((*record.accusations, statement), key=lambda each: each.signer)
            self._put(record.word, tuple(accusations[:MAX_ACCUSERS]))
        elif merged is Merged.NEWS:
            self._put(statement, ())
        elif merged is Merged.CONFLICT:
            assert record is not None
            if statement.mark < record.word.mark:
                self._put(statement, record.accusations)
        return merged

    def forget(self, peer_id: PeerId) -> None:
        record = self._records.pop(peer_id)
        self._toggle(peer_id, record.print)

    # -- comparing -----------------------------------------------------------------------------

    def buckets(self) -> tuple[int, ...]:
        """A digest for each part of the table."""
        return tuple(self._buckets)

    def prints(self, buckets: set[int]) -> dict[bytes, int]:
        """What these buckets hold: eight bytes of the id, and the print of what counts."""
        return {
            raw_of(peer)[:8]: record.print
            for peer, record in self._records.items()
            if bucket_of(peer) in buckets
        }

    def records(self) -> dict[PeerId, Record]:
        return self._records

    def _put(self, word: Statement, accusations: tuple[Statement, ...]) -> None:
        before = self._records.get(word.subject)
        if before is not None:
            self._toggle(word.subject, before.print)
        after = Record(word, accusations, _print_of(word, accusations))
        self._records[word.subject] = after
        self._toggle(word.subject, after.print)

    def _toggle(self, peer_id: PeerId, value: int) -> None:
        self._buckets[bucket_of(peer_id)] ^= value
        self.digest ^= value

    def check_invariants(self) -> None:
        whole = 0
        for peer_id, record in self._records.items():
            whole ^= record.print
            assert record.word.subject == peer_id == record.word.signer
            assert record.word.say is not Say.ACCUSED
            signers = [each.signer for each in record.accusations]
            assert signers == sorted(set(signers))
            assert len(signers) <= MAX_ACCUSERS
            assert not (record.has_left and signers)
            assert all(each.incarnation == record.incarnation for each in record.accusations)
        assert whole == self.digest


def bucket_of(peer_id: PeerId) -> int:
    return raw_of(peer_id)[0] % BUCKETS


def _judge_accusation(record: Record | None, statement: Statement) -> Merged:
    if record is None or statement.incarnation > record.incarnation:
        return Merged.UNPROVEN
    if statement.incarnation < record.incarnation or record.has_left:
        return Merged.STALE
    signers = [each.signer for each in record.accusations]
    if statement.signer in signers:
        return Merged.KNOWN
    is_full = len(signers) == MAX_ACCUSERS
    return Merged.KNOWN if is_full and statement.signer > signers[-1] else Merged.NEWS


def _print_of(word: Statement, accusations: tuple[Statement, ...]) -> int:
    whole = word.body() + b"".join(raw_of(each.signer) for each in accusations)
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "big")
