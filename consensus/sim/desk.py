"""Who asked what of which process, and what became of it: done, certainly refused, or unknown.

The rules of `outcomes`, without futures: a proposal is done when its index is applied with its
term, refused when another term is there, unknown when its proposer leads no more or is gone (R31).

What this module does not know: what a request means, who asks again.

Invariants: every request is settled once; a read is served only from a state that has applied its
index, which is not behind anything that was applied anywhere when the read was asked for (9).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consensus.raft import (
    Accepted,
    ChangeConfig,
    Entry,
    NodeId,
    Propose,
    ReadReady,
    ReadRequest,
    Refused,
    Result,
    Role,
    Status,
)
from consensus.sim.histories import REFUSED, UNKNOWN, Done, Outcome
from consensus.sim.invariants import InvariantBroken
from consensus.sim.marks import Marks
from consensus.sim.voter import Voter

Settle = Callable[[Outcome], None]
Serve = Callable[[Voter], None]


@dataclass(slots=True)
class _Place:
    """What waits at one node."""

    asked: dict[int, Settle] = field(default_factory=dict)  # by request
    waiting: dict[int, tuple[int, Settle]] = field(default_factory=dict)  # by index: term
    reads: dict[int, tuple[int, Serve, Settle]] = field(default_factory=dict)  # by request
    ready: list[tuple[int, Serve]] = field(default_factory=list)  # by index


class Desk:
    """All requests of a run."""

    def __init__(self, marks: Marks, committed: Callable[[], int]) -> None:
        self._marks = marks
        self._committed = committed
        self._places: dict[NodeId, _Place] = {}
        self.last_request = 0

    # -- asking --------------------------------------------------------------------------------

    def propose(self, voter: Voter, commands: Sequence[bytes], settle: Settle) -> int:
        """`settle` is called once for each command; the number of the first request."""
        first = self.last_request + 1
        self.last_request += len(commands)
        place = self._place(voter)
        for request in range(first, first + len(commands)):
            place.asked[request] = settle
        voter.post(Propose(first, commands))
        return first

    def change(
        self, voter: Voter, voters: Sequence[NodeId], learners: Sequence[NodeId], settle: Settle
    ) -> None:
        self.last_request += 1
        self._place(voter).asked[self.last_request] = settle
        voter.post(ChangeConfig(self.last_request, tuple(sorted(voters)), tuple(sorted(learners))))

    def read(self, voter: Voter, serve: Serve, settle: Settle) -> None:
        """`serve` reads the state when it may; `settle` hears of a refusal, or of no answer."""
        self.last_request += 1
        self._place(voter).reads[self.last_request] = (self._committed(), serve, settle)
        voter.post(ReadRequest(self.last_request))

    def _place(self, voter: Voter) -> _Place:
        return self._places.setdefault(voter.name, _Place())

    # -- what nodes say ------------------------------------------------------------------------

    def on_results(self, voter: Voter, results: Sequence[Result]) -> None:
        place = self._place(voter)
        for result in results:
            match result:
                case Accepted(first, count, index, term) if first:
                    for n in range(count):
                        place.waiting[index + n] = (term, place.asked.pop(first + n))
                case Refused(first, count) if first:
                    for request in range(first, first + count):
                        self._refuse(place, request)
                case _:
                    pass

    def _refuse(self, place: _Place, request: int) -> None:
        if request in place.reads:
            _, _, settle = place.reads.pop(request)
            self._marks.hit("read refused")
        else:
            settle = place.asked.pop(request)
        settle(REFUSED)

    def on_reads(self, voter: Voter, reads: Sequence[ReadReady]) -> None:
        place = self._place(voter)
        for ready in reads:
            committed, serve, _ = place.reads.pop(ready.request)
            if ready.index < committed:
                raise InvariantBroken(
                    9, f"{voter.name} serves a read at {ready.index}, {committed} were applied"
                )
            place.ready.append((ready.index, serve))
        self._serve(voter, place)

    def on_applied(self, voter: Voter, entries: Sequence[Entry], results: Sequence[object]) -> None:
        place = self._place(voter)
        if place.waiting:
            for entry, result in zip(entries, results, strict=True):
                found = place.waiting.pop(entry.index, None)
                if found is not None:
                    term, settle = found
                    settle(Done(result) if term == entry.term else REFUSED)
        self._serve(voter, place)

    def on_installed(self, voter: Voter) -> None:
        self._serve(voter, self._place(voter))

    def on_soft(self, voter: Voter, status: Status) -> None:
        """Its lead of earlier terms is over."""
        leading = status.term if status.role is Role.LEADER else None
        place = self._place(voter)
        for index, (term, settle) in list(place.waiting.items()):
            if term != leading:
                del place.waiting[index]
                settle(UNKNOWN)

    def on_stopped(self, voter: Voter) -> None:
        """The process is gone, with everything that it knew."""
        place = self._places.pop(voter.name, _Place())
        for settle in place.asked.values():
            settle(UNKNOWN)
        for _, settle in place.waiting.values():
            settle(UNKNOWN)
        for _, _, settle in place.reads.values():
            self._marks.hit("read lost")
            settle(UNKNOWN)

    def _serve(self, voter: Voter, place: _Place) -> None:
        if place.ready:
            due = [serve for index, serve in place.ready if index <= voter.applied]
            place.ready = [item for item in place.ready if item[0] > voter.applied]
            for serve in due:
                serve(voter)
