"""Changing the members: learners first, then a joint membership, then the new one (rule R22).

    ChangeConfig --> joint (or, for learners only, the new one) appended by the leader
    committed    --> in force; a leader leaves a joint one at once, also one that it inherited
    committed    --> the new one is in force; a leader that is no voter of it says so and steps down

What this module does not know: why anyone wants a change; how entries travel.

Invariants: at most one change is under way; none begins before an entry of the leader's own term is
committed; who becomes a voter was a learner that had caught up; memberships come into force in the
order of the log, each when it is known to be committed.
"""

from __future__ import annotations

from consensus.errors import MembershipInvalid
from consensus.raft.events import Accepted, ChangeConfig, Refused
from consensus.raft.membership import Membership
from consensus.raft.messages import PreVoteReply, RequestVoteReply, TimeoutNow
from consensus.raft.progress import Progress
from consensus.raft.state import NodeState
from consensus.raft.transfer import give_up_transfer
from consensus.raft.transitions import become_follower
from consensus.raft.types import Entry, EntryKind, RefusalReason, Role


def on_change_config(state: NodeState, event: ChangeConfig) -> None:
    """Append the first step of the change, or say why not."""
    reason = _refusal_of(state, event)
    if reason is None:
        try:
            step = state.memberships.active.towards(event.voters, event.learners)
        except MembershipInvalid:
            reason = RefusalReason.INVALID_CHANGE
        else:
            index = _append(state, step)
            state.outbox.results.append(Accepted(event.request, 1, index, state.term))
            return
    state.outbox.results.append(Refused(event.request, 1, reason, state.leader))


def commit_to(state: NodeState, index: int, now_ms: int) -> None:
    """Everything up to `index` is committed; let the memberships among it come into force."""
    if index <= state.commit:
        return
    state.commit = index
    state.note("Commit")
    if state.memberships.committed(index):
        state.note("ApplyConfChange")
        # With the commit index beside it: after a restart it must not take those who have left, and
        # may be gone for good, to elect a leader.
        state.outbox.hard_changed = True
        if state.role is Role.LEADER:
            _follow_members(state)
    if state.role is Role.LEADER:
        _leave_joint(state)


def learn_commit(state: NodeState, reply: PreVoteReply | RequestVoteReply, now_ms: int) -> None:
    """What is committed is so in every term, whoever says it. A candidate that does not know that
    its membership is over could need the votes of those who have left, and whose logs are longer,
    for ever (as raft-rs does it, `maybe_commit_by_vote`)."""
    if state.role is Role.LEADER or not state.log.matches(reply.commit, reply.commit_term):
        return
    commit_to(state, reply.commit, now_ms)
    if state.role is not Role.FOLLOWER and not state.may_campaign:
        become_follower(state, state.term, None, now_ms)


def step_down_if_removed(state: NodeState, now_ms: int) -> None:
    """A leader whose removal is committed names a successor and goes (R22)."""
    if state.role is not Role.LEADER or state.may_campaign:
        return
    voters = [name for name in state.memberships.active.voters if name in state.progress]
    furthest = max(voters, key=lambda name: state.progress[name].match, default=None)
    if furthest is not None and state.progress[furthest].match == state.log.last_index:
        state.send(TimeoutNow(state.config.node_id, furthest, state.term))
    become_follower(state, state.term, None, now_ms)


def _refusal_of(state: NodeState, event: ChangeConfig) -> RefusalReason | None:
    if state.role is not Role.LEADER:
        return RefusalReason.NOT_LEADER
    if state.transfer is not None:
        return RefusalReason.TRANSFERRING
    if not state.has_committed_own:
        return RefusalReason.TERM_NOT_COMMITTED
    if state.memberships.is_changing:
        return RefusalReason.CHANGE_PENDING
    lag_from = state.commit - state.config.max_promotion_lag
    for name in event.voters:
        if name in state.memberships.active.voters:
            continue
        progress = state.progress.get(name)
        if progress is None or progress.match < max(1, lag_from):
            return RefusalReason.NOT_CAUGHT_UP
    return None


def _append(state: NodeState, membership: Membership) -> int:
    index, data = state.log.last_index + 1, membership.encode()
    state.append((Entry(index, state.term, EntryKind.MEMBERSHIP, data),))
    state.uncommitted_bytes += len(data)
    state.note("ChangeConf", index=index)
    state.note("Replicate")
    state.replicate_due = True
    return index


def _leave_joint(state: NodeState) -> None:
    """Whoever leads a joint membership ends it, as soon as that can be committed (R22)."""
    memberships = state.memberships
    if memberships.active.is_joint and not memberships.has_pending and state.has_committed_own:
        _append(state, memberships.active.left())


def _follow_members(state: NodeState) -> None:
    """A leader replicates to the members in force, and to nobody else."""
    members = set(state.memberships.active.members) - {state.config.node_id}
    before = state.progress
    state.progress = {
        name: before.get(name) or Progress(next=state.log.last_index + 1)
        for name in sorted(members)
    }
    target = state.transfer.target if state.transfer is not None else None
    if target is not None and target not in state.memberships.active.voters:
        give_up_transfer(state)
    state.replicate_due = True
