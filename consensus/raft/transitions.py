"""The four ways to change role, and the election timer.

Paper figure 4; pre-candidates as in thesis 9.6.

What this module does not know: which message or timer makes a node change; what a leader sends.

Invariants: a candidate has voted for itself in the term it campaigns in; a leader is its own
leader and starts with an entry of its own term (R4); followers of a finished leader keep no
progress.
"""

from __future__ import annotations

from consensus.raft.events import Refused, TransferEnded
from consensus.raft.membership import NodeId
from consensus.raft.progress import Progress
from consensus.raft.state import NodeState
from consensus.raft.types import Entry, EntryKind, RefusalReason, Role

# A follower whose connection to the leader broke asks the others this soon.
LOST_LEADER_DELAY_MS = (50, 250)


def reset_election_timer(state: NodeState, now_ms: int) -> None:
    """A new random value each time (R29)."""
    timeout_ms = state.config.election_timeout_ms
    drawn_ms = state.rng.randrange(timeout_ms, 2 * timeout_ms)
    state.election_due_ms = now_ms + drawn_ms + state.priority_ms


def shorten_election_timer(state: NodeState, now_ms: int) -> None:
    """The leader seems gone: ask soon whether the others would vote.

    This cannot disturb a healthy leader: what fires is a PreVote, which changes no term, and every
    voter that still hears the leader ignores it (R12, R13). Without a majority that lost the
    leader as well, nothing happens but a few messages.
    """
    delay_ms = state.rng.randrange(*LOST_LEADER_DELAY_MS) + state.priority_ms
    if state.election_due_ms is not None:
        state.election_due_ms = min(state.election_due_ms, now_ms + delay_ms)


def become_follower(state: NodeState, term: int, leader: NodeId | None, now_ms: int) -> None:
    """Of `leader`, or of nobody yet. A higher term comes with a fresh vote."""
    was_leader = state.role is Role.LEADER
    changes_role = state.role is not Role.FOLLOWER or term > state.term
    if state.transfer is not None:
        moved = state.transfer.is_told and term > state.term
        state.outbox.results.append(TransferEnded(state.transfer.target, moved))
        state.transfer = None
    if term > state.term:
        state.set_term(term, None)
        state.leader_heard_ms = None
    if state.leader != leader:
        state.leader = leader
        state.leader_since_ms = None if leader is None else now_ms
    state.role = Role.FOLLOWER
    state.votes.clear()
    state.progress.clear()
    state.commit_notice_due_ms = None
    state.replicate_due = False
    state.uncommitted_bytes = 0
    if was_leader:
        state.leader_heard_ms = None
        for request in state.reads.give_up():
            state.outbox.results.append(Refused(request, 1, RefusalReason.NOT_CONFIRMED, leader))
        reset_election_timer(state, now_ms)
    if changes_role:
        state.note("BecomeFollower")


def become_precandidate(state: NodeState, now_ms: int) -> None:
    """Forgets the leader and every answer so far; changes nothing durable (R12)."""
    assert state.role is not Role.LEADER
    state.role = Role.PRECANDIDATE
    state.leader = None
    state.leader_since_ms = None
    state.leader_heard_ms = None
    state.votes = {state.config.node_id}
    reset_election_timer(state, now_ms)
    state.note("BecomePreCandidate")


def become_candidate(state: NodeState, now_ms: int) -> None:
    """A new term with the own vote, which counts once it is durable (R1)."""
    assert state.role is not Role.LEADER
    state.role = Role.CANDIDATE
    state.set_term(state.term + 1, state.config.node_id)
    state.leader = None
    state.leader_since_ms = None
    state.leader_heard_ms = None
    state.votes.clear()
    reset_election_timer(state, now_ms)
    state.note("BecomeCandidate")


def become_leader(state: NodeState, now_ms: int) -> None:
    """Knows nothing of the others' logs but that they voted; appends its first entry (R4)."""
    assert state.role is Role.CANDIDATE
    assert state.memberships.active.has_quorum(state.votes)
    own_id = state.config.node_id
    state.role = Role.LEADER
    state.leader = own_id
    state.leader_since_ms = now_ms
    state.votes.clear()
    state.election_due_ms = None
    last_index = state.log.last_index
    state.progress = {
        peer: Progress(next=last_index + 1)
        for peer in state.memberships.active.members
        if peer != own_id
    }
    pending = state.log.slice(state.commit + 1, last_index)
    state.uncommitted_bytes = sum(len(entry.data) for entry in pending)
    state.note("BecomeLeader")
    state.append((Entry(last_index + 1, state.term, EntryKind.NOOP, b""),))
    state.note("Replicate")
    state.heartbeat_due_ms = now_ms + state.config.heartbeat_ms
    state.quorum_check_due_ms = now_ms + state.config.election_timeout_ms
    state.quorum_heard = True  # a majority has just voted
    state.replicate_due = True
