"""Who votes in one epoch, with which weight, and what is enough: all of it in integers.

An electorate is the voters' configuration of one epoch, frozen when a question is put (V2). Its
digest is part of every ballot. The total is that of all voters, whether they vote or not.

What this module does not know: questions, ballots, how an epoch comes about.

Invariants: voters are sorted by peer id, 1 to 128, each peer id is the fingerprint of its key (so
a key has one voter and a voter one key), no key is of small order, weights are at least 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from consensus.votes.errors import ElectorateInvalid, NotByzantine
from consensus.votes.signing import KEY_BYTES, is_strict_point, peer_id_of
from consensus.votes.wire import MAX_NUMBER, Malformed, Reader, Writer, digest, text_problem

MAX_VOTERS: Final = 128
MAX_WEIGHT: Final = 2**32 - 1
MAX_CLUSTER_ID_BYTES: Final = 128
MAX_ELECTORATE_BYTES: Final = 16 + MAX_CLUSTER_ID_BYTES + MAX_VOTERS * (KEY_BYTES + 8)

_MAGIC: Final = b"CVE1"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Strictly more than `numerator / denominator` of the total weight. Never less than a half.

    Raises:
        ElectorateInvalid: not a fraction from 1/2 to below 1, or not within 32 bits.
    """

    numerator: int = 2
    denominator: int = 3

    def __post_init__(self) -> None:
        num, den = self.numerator, self.denominator
        if not 1 <= num < den <= MAX_WEIGHT or 2 * num < den:
            raise ElectorateInvalid(
                f"a threshold of {num}/{den}: it goes from 1/2 to below 1, so that two opposite"
                " decisions always share a voter"
            )

    def is_passed(self, weight: int, total: int) -> bool:
        """V1: whether this weight is enough."""
        return self.denominator * weight > self.numerator * total

    def needed(self, total: int) -> int:
        """The least weight that is enough."""
        return self.numerator * total // self.denominator + 1

    def is_at_least(self, other: Threshold) -> bool:
        """Whether whatever passes this one passes the other one too."""
        return self.numerator * other.denominator >= other.numerator * self.denominator

    def __str__(self) -> str:
        return f"more than {self.numerator}/{self.denominator}"


TWO_THIRDS: Final = Threshold(2, 3)


def quorum(voters: int) -> int:
    """V1: how many of equal voters are more than two thirds: floor(2n/3) + 1."""
    if voters < 1:
        raise ElectorateInvalid(f"{voters} voters")
    return TWO_THIRDS.needed(voters)


def byzantine_faults(voters: int) -> int:
    """V1: how many of `voters` equal ones may lie, floor((n - 1) / 3).

    Raises:
        NotByzantine: fewer than four, of whom none may lie.
    """
    if voters < 4:
        raise NotByzantine(voters)
    return (voters - 1) // 3


@dataclass(frozen=True, slots=True)
class Voter:
    """One key with its weight. `of` makes one.

    Raises:
        ElectorateInvalid: the peer id is not the key's, the key or the weight is impossible.
    """

    peer_id: str
    public_key: bytes
    weight: int = 1
    can_veto: bool = False

    @classmethod
    def of(cls, public_key: bytes, weight: int = 1, *, can_veto: bool = False) -> Voter:
        return cls(peer_id_of(public_key), public_key, weight, can_veto)

    def __post_init__(self) -> None:
        if len(self.public_key) != KEY_BYTES or self.peer_id != peer_id_of(self.public_key):
            raise ElectorateInvalid(f"{self.peer_id[:60]} is not the fingerprint of its key")
        if not is_strict_point(self.public_key):
            raise ElectorateInvalid(f"the key of {self.peer_id} is none that can sign")
        if not 1 <= self.weight <= MAX_WEIGHT:
            raise ElectorateInvalid(f"the weight of {self.peer_id} is {self.weight}")


@dataclass(frozen=True, slots=True)
class Electorate:
    """The voters of one epoch of one cluster. `of` sorts them.

    Raises:
        ElectorateInvalid: see the invariants above.
    """

    cluster_id: str
    epoch: int
    voters: tuple[Voter, ...]
    total_weight: int = field(init=False, compare=False)
    digest: bytes = field(init=False, compare=False, repr=False)
    raw: bytes = field(init=False, compare=False, repr=False)
    _by_id: dict[str, Voter] = field(init=False, compare=False, repr=False)

    @classmethod
    def of(cls, cluster_id: str, epoch: int, voters: Iterable[Voter]) -> Electorate:
        return cls(cluster_id, epoch, tuple(sorted(voters, key=lambda voter: voter.peer_id)))

    def __post_init__(self) -> None:
        problem = text_problem(self.cluster_id, MAX_CLUSTER_ID_BYTES)
        if problem or not self.cluster_id:
            raise ElectorateInvalid(f"its cluster id: {problem or 'empty'}")
        if not 0 <= self.epoch <= MAX_NUMBER:
            raise ElectorateInvalid(f"epoch {self.epoch}")
        if not 1 <= len(self.voters) <= MAX_VOTERS:
            raise ElectorateInvalid(f"{len(self.voters)} voters, not from 1 to {MAX_VOTERS}")
        ids = [voter.peer_id for voter in self.voters]
        for before, after in pairwise(ids):
            if before >= after:
                raise ElectorateInvalid(f"{after} is there twice, or not in order")
        set_once = object.__setattr__  # a frozen object that works out what follows from it
        set_once(self, "total_weight", sum(voter.weight for voter in self.voters))
        set_once(self, "_by_id", {voter.peer_id: voter for voter in self.voters})
        set_once(self, "raw", self._encoded())
        set_once(self, "digest", digest(self.raw))

    def find(self, peer_id: str) -> Voter | None:
        return self._by_id.get(peer_id)

    @property
    def vetoers(self) -> tuple[Voter, ...]:
        """Who has to be heard before anything is approved."""
        return tuple(voter for voter in self.voters if voter.can_veto)

    @property
    def byzantine_faults(self) -> int:
        """How many of its voters may lie, if their weights are equal.

        Raises:
            NotByzantine: fewer than four voters.
            ElectorateInvalid: weights differ, so that no number of voters says it.
        """
        if len({voter.weight for voter in self.voters}) > 1:
            raise ElectorateInvalid("a number of liars needs equal weights")
        return byzantine_faults(len(self.voters))

    def _encoded(self) -> bytes:
        writer = Writer(_MAGIC).text(self.cluster_id).number(self.epoch, 8)
        writer.number(len(self.voters), 2)
        for voter in self.voters:
            writer.raw(voter.public_key, KEY_BYTES).number(voter.weight, 4)
            writer.number(int(voter.can_veto), 1)
        return writer.done()

    def to_bytes(self) -> bytes:
        return self.raw

    @classmethod
    def from_bytes(cls, data: bytes) -> Electorate:
        """
        Raises:
            ElectorateInvalid: these bytes are not the one form of an electorate.
        """
        try:
            reader = Reader(data, _MAGIC, MAX_ELECTORATE_BYTES, "an electorate")
            cluster_id = reader.text("the cluster id", MAX_CLUSTER_ID_BYTES)
            epoch = reader.number("the epoch", 8)
            count = reader.number("the number of voters", 2, 1, MAX_VOTERS)
            voters = tuple(_read_voter(reader) for _ in range(count))
            reader.finish()
        except Malformed as error:
            raise ElectorateInvalid(str(error)) from error
        electorate = cls(cluster_id, epoch, voters)
        if electorate.raw != data:
            raise ElectorateInvalid("not in canonical form")
        return electorate


def _read_voter(reader: Reader) -> Voter:
    key = reader.raw(KEY_BYTES)
    weight = reader.number("a weight", 4, 1, MAX_WEIGHT)
    return Voter.of(key, weight, can_veto=reader.flag("a right of veto"))
