"""What must hold in every run, whatever fails, judged from outside the core.

 1  one leader a term
 2  a leader only appends
 3  equal (index, term) means equal prefix
 4  a leader has all that is committed
 5  the same command at the same index everywhere
 6  term, commit and applied never go back; one vote a term
 7  nothing is promised that the disk could not prove
 8  no acknowledged command is lost, no refused one happens, none happens twice

Beside 4 and 5 stands a stronger form, which finds a bad commit long before two leaders meet: of the
disks as they are, no majority could elect anyone who lacks a committed entry.

What this module does not know: how the core works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consensus.raft import (
    Accepted,
    AppendEntriesReply,
    Entry,
    EntryKind,
    Message,
    NodeId,
    Refused,
    RequestVote,
    RequestVoteReply,
    Role,
)
from consensus.sim.voter import Voter


class InvariantBroken(AssertionError):
    """A run in which one of the promises did not hold."""

    def __init__(self, number: int, what: str) -> None:
        self.number = number
        super().__init__(f"invariant {number}: {what}")


class Oracle:
    """Sees everything and forgets nothing."""

    def __init__(self) -> None:
        self.voters: Sequence[Voter] = ()
        self.on_new_leader: Callable[[Voter], None] = lambda voter: None
        self.committed: list[Entry] = []
        self.committed_hashes: list[bytes] = []
        self.done: set[int] = set()  # requests whose proposer saw them applied
        self.refused: set[int] = set()
        self._leaders: dict[int, NodeId] = {}
        self._prefixes: dict[tuple[int, int], bytes] = {}
        self._seen: dict[NodeId, int] = {}  # how much of a submitted log was compared
        self._led: dict[tuple[NodeId, int], int] = {}  # last index while leading that term
        self._terms: dict[NodeId, int] = {}
        self._commits: dict[NodeId, tuple[int, int]] = {}  # process, commit
        self._votes: dict[tuple[NodeId, int], NodeId] = {}
        self._waiting: dict[tuple[int, int], int] = {}  # (index, term) -> request
        self._happened: set[bytes] = set()

    # -- promises ------------------------------------------------------------------------------

    def on_sent(self, voter: Voter, message: Message) -> None:
        """7, and the vote half of 6."""
        hard = voter.disk.durable.hard
        match message:
            case RequestVoteReply(granted=True) | RequestVote():
                chosen = message.to if isinstance(message, RequestVoteReply) else voter.name
                if hard.term < message.term or (hard.term == message.term and hard.vote != chosen):
                    raise InvariantBroken(7, f"{voter.name} says a vote its disk does not hold")
                if self._votes.setdefault((voter.name, message.term), chosen) != chosen:
                    raise InvariantBroken(6, f"{voter.name} votes twice in term {message.term}")
            case AppendEntriesReply(accepted=True):
                has = len(voter.disk.durable.entries)
                if hard.term < message.term or (hard.term == message.term and has < message.index):
                    raise InvariantBroken(7, f"{voter.name} confirms {message.index}, holds {has}")
            case _:
                pass

    def on_accepted(self, voter: Voter, accepted: Accepted) -> None:
        for n in range(accepted.count):
            self._waiting[accepted.first_index + n, accepted.term] = accepted.first_request + n

    def on_refused(self, voter: Voter, refused: Refused) -> None:
        self.refused.update(range(refused.first_request, refused.first_request + refused.count))

    def on_applied(self, voter: Voter, entry: Entry) -> None:
        """5 and 8."""
        position = entry.index - 1
        if position < len(self.committed):
            if self.committed[position] != entry:
                raise InvariantBroken(5, f"{voter.name} applies another entry at {entry.index}")
        else:
            self._note_committed(voter, entry)
        request = self._waiting.pop((entry.index, entry.term), None)
        if request is not None:
            self.done.add(request)

    def _note_committed(self, voter: Voter, entry: Entry) -> None:
        if entry.index != len(self.committed) + 1:
            raise InvariantBroken(5, f"{voter.name} skips to {entry.index}")
        self.committed.append(entry)
        self.committed_hashes.append(voter.disk.submitted.hashes[entry.index])
        if entry.kind is EntryKind.COMMAND:
            if entry.data in self._happened:
                raise InvariantBroken(8, f"command {entry.data[:16]!r} happens twice")
            self._happened.add(entry.data)
            if int(entry.data.split(b" ")[0]) in self.refused:
                raise InvariantBroken(8, f"refused command {entry.data[:16]!r} happens")

    # -- after every effect --------------------------------------------------------------------

    def on_turn(self, voter: Voter) -> None:
        """1, 2, 3, 4, 6 for the voter that just moved."""
        if not voter.is_up:
            return
        self._check_prefixes(voter)
        status = voter.status()
        if status.halted is not None:
            raise InvariantBroken(7, f"{voter.name} halted: {status.halted.value}")
        if status.term < self._terms.get(voter.name, 0):
            raise InvariantBroken(6, f"the term of {voter.name} goes back")
        process, commit = self._commits.get(voter.name, (-1, 0))
        if process == voter.process and status.commit < commit:
            raise InvariantBroken(6, f"the commit index of {voter.name} goes back")
        self._commits[voter.name] = (voter.process, status.commit)
        if voter.disk.durable.hard.term == status.term:
            self._terms[voter.name] = status.term
        if status.role is Role.LEADER:
            self._check_leader(voter, status.term)
        if status.commit > commit or process != voter.process:
            self.check_electable(voter, status.commit)

    def _check_prefixes(self, voter: Voter) -> None:
        image = voter.disk.submitted
        length = len(image.entries)
        first = min(self._seen.get(voter.name, 0), image.shortest)
        image.shortest = length
        self._seen[voter.name] = length
        for position in range(first, length):
            entry = image.entries[position]
            found = image.hashes[position + 1]
            if self._prefixes.setdefault((entry.index, entry.term), found) != found:
                raise InvariantBroken(3, f"{voter.name} differs before {entry.index}")

    def _check_leader(self, voter: Voter, term: int) -> None:
        if term not in self._leaders:
            self._check_mandate(voter, term)
            self._leaders[term] = voter.name
            self.on_new_leader(voter)
        if self._leaders[term] != voter.name:
            raise InvariantBroken(1, f"{voter.name} and {self._leaders[term]} lead term {term}")
        image = voter.disk.submitted
        length = len(image.entries)
        key = (voter.name, term)
        if length < self._led.get(key, 0):
            raise InvariantBroken(2, f"{voter.name} shortens its log as leader of {term}")
        known = len(self.committed)
        if key not in self._led and known and self._is_newest(term):
            has_all = length >= known and image.hashes[known] == self.committed_hashes[known - 1]
            if not has_all:
                raise InvariantBroken(4, f"{voter.name} leads {term} without all that is committed")
        self._led[key] = length

    def _check_mandate(self, voter: Voter, term: int) -> None:
        """A leader has the votes of a majority of different voters."""
        given = sum(self._votes.get((peer.name, term)) == voter.name for peer in self.voters)
        is_alone = len(self.voters) == 1  # asks nobody, so no vote was ever said
        if not is_alone and given < len(self.voters) // 2 + 1:
            raise InvariantBroken(1, f"{voter.name} leads term {term} with {given} votes")

    def _is_newest(self, term: int) -> bool:
        return all(term >= known for known in self._leaders)

    def check_electable(self, committer: Voter, commit: int) -> None:
        """Nobody who lacks what is committed could win an election among these disks."""
        if commit == 0:
            return
        wanted = committer.disk.submitted.hashes[commit]
        lasts = [voter.disk.durable.last for voter in self.voters]
        quorum = len(self.voters) // 2 + 1
        for voter in self.voters:
            hashes = voter.disk.durable.hashes
            if len(hashes) > commit and hashes[commit] == wanted:
                continue
            own = voter.disk.durable.last
            if sum(last <= own for last in lasts) >= quorum:
                raise InvariantBroken(
                    4, f"{committer.name} commits {commit}, yet {voter.name} could lead without it"
                )
