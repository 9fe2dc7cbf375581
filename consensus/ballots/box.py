"""Where a voter keeps what it has signed, so that it never signs something else.

What this module does not know: how ballots come about, who is sent one.

Invariants of every box: `store` returns when the ballot survives a power cut; one (proposal id,
round) holds one ballot for ever, or until it or its whole epoch is forgotten, and then nothing is
stored there again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from consensus.ballots.ballot import Ballot
from consensus.ballots.errors import AlreadyVoted, BallotForgotten, EpochForgotten
from consensus.errors import WrongCluster, WrongNode


class BallotBox(Protocol):
    """One voter's ballots."""

    def store(self, ballot: Ballot) -> None:
        """Durable when this returns. The same ballot again changes nothing.

        Raises:
            AlreadyVoted: there is a different one for that proposal and round.
            BallotForgotten: there was one, and it was let go.
            EpochForgotten: it cannot be known whether there was one.
            WrongCluster, WrongNode: it is not this voter's.
            StorageError: the disk failed; nothing may be sent.
        """

    def find(self, proposal_id: str, round_number: int) -> Ballot | None:
        """The ballot on that proposal in that round."""

    def ballots(self) -> tuple[bytes, ...]:
        """All of them, in the order of (proposal id, round)."""

    def floor(self) -> int:
        """The lowest epoch whose ballots are all here."""

    def forget_below(self, epoch: int) -> None:
        """Let go of the ballots of older epochs; the floor never sinks.

        Raises:
            StorageError: the disk failed.
        """

    def forget(self, places: Iterable[tuple[str, int]]) -> None:
        """Let go of these ballots; that they were there is known for ever.

        Raises:
            StorageError: the disk failed.
        """

    def forgotten(self) -> frozenset[tuple[str, int]]:
        """Where a ballot was and was let go."""

    def close(self) -> None:
        """Let it go."""


class MemoryBox:
    """A box that a process takes with it: for tests and simulated nodes only."""

    def __init__(self, cluster_id: str, voter: bytes) -> None:
        self._cluster_id = cluster_id
        self._voter = voter
        self._floor = 0
        self._held: dict[tuple[str, int], Ballot] = {}
        self._gone: set[tuple[str, int]] = set()

    def store(self, ballot: Ballot) -> None:
        refuse_foreign(ballot, "a box in memory", self._cluster_id, self._voter)
        refuse_contradiction(ballot, self._held.get(place(ballot)), self._floor, self._gone)
        self._held.setdefault(place(ballot), ballot)

    def find(self, proposal_id: str, round_number: int) -> Ballot | None:
        return self._held.get((proposal_id, round_number))

    def ballots(self) -> tuple[bytes, ...]:
        return tuple(ballot.raw for _, ballot in sorted(self._held.items(), key=lambda i: i[0]))

    def floor(self) -> int:
        return self._floor

    def forget_below(self, epoch: int) -> None:
        self._floor = max(self._floor, epoch)
        self._held = {p: each for p, each in self._held.items() if each.epoch >= self._floor}

    def forget(self, places: Iterable[tuple[str, int]]) -> None:
        for each in places:
            if self._held.pop(each, None) is not None:
                self._gone.add(each)

    def forgotten(self) -> frozenset[tuple[str, int]]:
        return frozenset(self._gone)

    def close(self) -> None:
        return


def place(ballot: Ballot) -> tuple[str, int]:
    """What one ballot may be held for."""
    return ballot.proposal_id, ballot.round


def refuse_foreign(ballot: Ballot, path: str, cluster_id: str, voter: bytes) -> None:
    """
    Raises:
        WrongCluster, WrongNode: a voter keeps its own ballots only.
    """
    if ballot.cluster_id != cluster_id:
        raise WrongCluster(path, cluster_id, ballot.cluster_id)
    if ballot.voter != voter:
        raise WrongNode(path, voter.hex(), ballot.voter.hex())


def refuse_contradiction(
    ballot: Ballot, held: Ballot | None, floor: int, gone: Collection[tuple[str, int]]
) -> None:
    """
    Raises:
        AlreadyVoted, BallotForgotten, EpochForgotten.
    """
    if held is None and place(ballot) in gone:
        raise BallotForgotten(*place(ballot))
    if held is not None and held.raw != ballot.raw:
        raise AlreadyVoted(ballot.proposal_id, ballot.round)
    if held is None and ballot.epoch < floor:
        raise EpochForgotten(ballot.proposal_id, ballot.epoch, floor)
