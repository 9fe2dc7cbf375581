"""What must hold in every run, whatever fails, judged from outside the core.

  1  one leader a term, with a mandate of the members in force
  2  a leader only appends
  3  equal (index, term) means equal prefix
  4  a leader has all that is committed
  5  the same command at the same index everywhere, and the same state behind it
  6  term, commit and applied never go back; one vote a term
  7  nothing is promised that the disk could not prove
  8  no acknowledged command is lost, no refused one happens, none happens twice
 11  each committed membership follows the one before, and no quorums of two in a row are apart

Beside 4 and 5 stands a stronger form, which finds a bad commit long before two leaders meet: of the
disks as they are, no quorum could elect anyone who lacks a committed entry.

What this module does not know: how the core works.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from consensus.raft import (
    Accepted,
    AppendEntriesReply,
    Entry,
    EntryKind,
    Membership,
    Message,
    NodeId,
    RefusalReason,
    Refused,
    RequestVote,
    RequestVoteReply,
    Result,
    Role,
    SnapshotMeta,
    Status,
    TransferEnded,
)
from consensus.sim.image import chained
from consensus.sim.invariants import InvariantBroken
from consensus.sim.machine import STORE
from consensus.sim.marks import Marks
from consensus.sim.memberships import follows, overlap
from consensus.sim.voter import Voter

DEPOSED_MS = 2 * 800 + 50  # two election timeouts on a clock that may be slow


class Oracle:
    """Sees everything and forgets nothing."""

    def __init__(self, genesis: Membership, marks: Marks) -> None:
        self._marks = marks
        self.voters: Callable[[], Iterable[Voter]] = tuple
        self.on_new_leader: Callable[[Voter], None] = lambda voter: None
        self.on_new_membership: Callable[[Voter], None] = lambda voter: None
        self.committed: list[Entry] = []
        self.committed_hashes: list[bytes] = [b"\0" * 16]  # at index 0, 1, ...
        self.memberships: dict[int, Membership] = {0: genesis}  # committed ones by index
        self.done: set[int] = set()  # requests whose proposer saw them applied
        self.refused: set[int] = set()
        self.membership = genesis  # the latest that is committed
        self.has_even_time = False  # whether clocks neither jump nor stand, nor nodes with them
        self._applied_ms: list[int] = []  # when each entry was applied first
        self._membership_term = 0
        self._leads: dict[NodeId, bool] = {}
        self._leaders: dict[int, NodeId] = {}
        self._newest_term = 0
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
                if isinstance(message, RequestVoteReply):
                    if voter.name not in self.membership.deciders:
                        self._marks.hit("a learner voted")
                elif voter.name not in self.membership.members:
                    self._marks.hit("somebody removed campaigns")
                if self._votes.setdefault((voter.name, message.term), chosen) != chosen:
                    raise InvariantBroken(6, f"{voter.name} votes twice in term {message.term}")
            case AppendEntriesReply(accepted=True):
                has = voter.disk.covered
                if hard.term < message.term or (hard.term == message.term and has < message.index):
                    raise InvariantBroken(7, f"{voter.name} confirms {message.index}, holds {has}")
            case _:
                pass

    def on_results(self, voter: Voter, results: Sequence[Result]) -> None:
        for result in results:
            match result:
                case Accepted(first, count, index, term):
                    for n in range(count):
                        self._waiting[index + n, term] = first + n
                case Refused(first, count, reason):
                    self.refused.update(range(first, first + count))
                    if reason is RefusalReason.NOT_CONFIRMED:
                        self._marks.hit("read round lost")
                case TransferEnded(_, moved):
                    self._marks.hit("transfer moved" if moved else "transfer given up")

    def on_applied(self, voter: Voter, entries: Sequence[Entry]) -> None:
        """5 and 8."""
        for entry in entries:
            position = entry.index - 1
            if position >= len(self.committed):
                self._note_committed(voter, entry)
            elif self.committed[position] != entry:
                raise InvariantBroken(5, f"{voter.name} applies another entry at {entry.index}")
            request = self._waiting.pop((entry.index, entry.term), None)
            if request is not None:
                self.done.add(request)
        self._check_state(voter, entries[-1].index)

    def on_installed(self, voter: Voter, meta: SnapshotMeta) -> None:
        """5 and 11, for a state that came as a whole."""
        if meta.index > len(self.committed):
            raise InvariantBroken(5, f"{voter.name} has a snapshot of what nobody applied")
        if self.committed[meta.index - 1].term != meta.term:
            raise InvariantBroken(5, f"{voter.name} has a snapshot of another term")
        if not meta.membership.voters and not meta.membership_index:
            # Made by a newcomer, who cannot know yet with whom the cluster began.
            self._marks.hit("snapshot without members")
        elif self.memberships.get(meta.membership_index) != meta.membership:
            raise InvariantBroken(11, f"{voter.name} has a snapshot with other members")
        self._check_state(voter, meta.index)

    def _check_state(self, voter: Voter, index: int) -> None:
        if voter.machine.hash != self.committed_hashes[index]:
            raise InvariantBroken(5, f"{voter.name} has another state at {index}")

    def _note_committed(self, voter: Voter, entry: Entry) -> None:
        if entry.index != len(self.committed) + 1:
            raise InvariantBroken(5, f"{voter.name} skips to {entry.index}")
        self.committed.append(entry)
        self._applied_ms.append(voter.now_ms)
        self.committed_hashes.append(chained(self.committed_hashes[-1], entry))
        if entry.kind is EntryKind.COMMAND and not entry.data.startswith(STORE):
            if entry.data in self._happened:
                raise InvariantBroken(8, f"command {entry.data[:16]!r} happens twice")
            self._happened.add(entry.data)
            if int(entry.data.split(b" ")[0]) in self.refused:
                raise InvariantBroken(8, f"refused command {entry.data[:16]!r} happens")
        elif entry.kind is EntryKind.MEMBERSHIP:
            self._note_membership(entry)
            self.on_new_membership(voter)

    def _note_membership(self, entry: Entry) -> None:
        index, membership = entry.index, Membership.decode(entry.data)
        before = self.membership
        if before.is_joint and entry.term != self._membership_term:
            self._marks.hit("joint membership left by another leader")
        self._membership_term = entry.term
        if not follows(before, membership):
            raise InvariantBroken(11, f"{membership} at {index} cannot follow {before}")
        if not overlap(before, membership):
            raise InvariantBroken(11, f"{membership} at {index} can decide without {before}")
        self.membership = self.memberships[index] = membership

    # -- after every turn ----------------------------------------------------------------------

    def on_turn(self, voter: Voter) -> None:
        """1, 2, 3, 4, 6 for the node that just moved."""
        self._check_prefixes(voter)
        status = voter.status()
        if status.term < self._terms.get(voter.name, 0):
            raise InvariantBroken(6, f"the term of {voter.name} goes back")
        process, commit = self._commits.get(voter.name, (-1, 0))
        if process == voter.process and status.commit < commit:
            raise InvariantBroken(6, f"the commit index of {voter.name} goes back")
        self._commits[voter.name] = (voter.process, status.commit)
        if voter.disk.durable.hard.term == status.term:
            self._terms[voter.name] = status.term
        leads = status.role is Role.LEADER
        if leads:
            self._check_leader(voter, status)
            if status.commit > voter.disk.durable.last_index:
                self._marks.hit("committed before the own disk")
        elif self._leads.get(voter.name) and voter.name not in status.membership.deciders:
            self._marks.hit("a removed leader stepped down")
        self._leads[voter.name] = leads
        if status.fresh_ms is not None and self.has_even_time:
            self._check_fresh(voter, status.fresh_ms)
        if status.commit > commit or process != voter.process:
            self.check_electable(voter, status.commit)

    def _check_fresh(self, voter: Voter, fresh_ms: int) -> None:
        """9, for who reads at a follower: its state is not older than it says, but for the time
        in which a leader may not know yet that it is none."""
        since_ms = voter.clock.timeline_ms(fresh_ms) - DEPOSED_MS
        place = bisect_left(self._applied_ms, since_ms)
        if voter.applied < place:
            raise InvariantBroken(
                9, f"{voter.name} says that it is fresh at {voter.applied}, {place} were applied"
            )

    def _check_prefixes(self, voter: Voter) -> None:
        image = voter.disk.submitted
        first = max(min(self._seen.get(voter.name, 0), image.shortest), image.base_index)
        image.shortest = self._seen[voter.name] = image.last_index
        for position in range(first - image.base_index, len(image.entries)):
            entry = image.entries[position]
            found = image.hashes[position + 1]
            if self._prefixes.setdefault((entry.index, entry.term), found) != found:
                raise InvariantBroken(3, f"{voter.name} differs before {entry.index}")

    def _check_leader(self, voter: Voter, status: Status) -> None:
        term, image = status.term, voter.disk.submitted
        if term not in self._leaders:
            self._check_mandate(voter, status)
            self._leaders[term] = voter.name
            self._newest_term = max(self._newest_term, term)
            self.on_new_leader(voter)
        if self._leaders[term] != voter.name:
            raise InvariantBroken(1, f"{voter.name} and {self._leaders[term]} lead term {term}")
        length = image.last_index
        key = (voter.name, term)
        if length < self._led.get(key, 0):
            raise InvariantBroken(2, f"{voter.name} shortens its log as leader of {term}")
        known = len(self.committed)
        if key not in self._led and known and term == self._newest_term:
            place = max(known, image.base_index)
            has_all = place == known and image.hash_at(known) == self.committed_hashes[known]
            if not has_all:
                raise InvariantBroken(4, f"{voter.name} leads {term} without all that is committed")
        self._led[key] = length

    def _check_mandate(self, voter: Voter, status: Status) -> None:
        """A leader has the votes of a quorum, as its disk knows the members."""
        own = voter.disk.durable.hard
        given = {
            name
            for (name, term), chosen in self._votes.items()
            if term == status.term and chosen == voter.name
        }
        if own.term == status.term and own.vote == voter.name:
            given.add(voter.name)
        if not status.membership.has_quorum(given):
            raise InvariantBroken(1, f"{voter.name} leads term {status.term} with {sorted(given)}")

    def check_electable(self, committer: Voter, commit: int) -> None:
        """Nobody who lacks what is committed could win an election, each node being as it is or as
        a restart would make it."""
        if commit == 0:
            return
        wanted = committer.disk.submitted.hash_at(commit)
        assert wanted is not None, "committed, and neither in the log nor below it"
        states = [
            (voter, state)
            for voter in self.voters()
            for state in (voter.standing, voter.living_standing)
            if state is not None
        ]
        for voter, own in states:
            if own.has(commit, wanted) or voter.name not in own.membership.deciders:
                continue
            behind = {other.name for other, its in states if its.last <= own.last}
            if own.membership.has_quorum(behind):
                raise InvariantBroken(
                    4,
                    f"{committer.name} commits {commit}, yet {voter.name} could lead without it"
                    f" by {own.membership}",
                )
