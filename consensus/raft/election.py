"""Who leads: pre-votes, votes, and how a node starts to campaign (paper 5.2, 5.4.1; thesis 9.6).

PreVote and stickiness belong to CheckQuorum (`replication.check_quorum`): stickiness alone would
deadlock behind a leader that reaches only a minority (R13).

What this module does not know: the contents of entries, when a leader steps down, disks.

Invariants: a vote is said only when it is durable; one vote a term; the own vote counts only when
durable, and then the requests leave (R1, R8).
"""

from __future__ import annotations

from consensus.raft.membership import NodeId
from consensus.raft.messages import PreVote, PreVoteReply, RequestVote, RequestVoteReply
from consensus.raft.state import NodeState
from consensus.raft.transitions import (
    become_candidate,
    become_follower,
    become_leader,
    become_precandidate,
    reset_election_timer,
    shorten_election_timer,
)
from consensus.raft.types import DropReason, Role


def on_election_timeout(state: NodeState, now_ms: int) -> None:
    """Nobody led for a while: ask whether a campaign would have a chance."""
    if state.storage_full or not state.may_campaign:
        reset_election_timer(state, now_ms)  # our own vote could not be stored, or does not count
        return
    become_precandidate(state, now_ms)
    for peer in state.others:
        state.send(
            PreVote(
                state.config.node_id,
                peer,
                state.term + 1,
                state.log.last_index,
                state.log.last_term,
                state.memberships.active_index,
            )
        )
    _campaign_if_preelected(state, now_ms)


def campaign(state: NodeState, now_ms: int, *, transfer: bool = False) -> None:
    """Enter the next term and ask for votes, as soon as term and own vote are durable (R1)."""
    become_candidate(state, now_ms)
    for peer in state.others:
        state.send_when_stored(
            RequestVote(
                state.config.node_id,
                peer,
                state.term,
                state.log.last_index,
                state.log.last_term,
                transfer,
                state.memberships.active_index,
            )
        )


def count_own_vote(state: NodeState, now_ms: int) -> None:
    """Called when a batch became durable."""
    if state.role is Role.CANDIDATE and state.stored_hard == state.hard:
        _count_vote(state, state.config.node_id, now_ms)


def on_pre_vote(state: NodeState, message: PreVote, now_ms: int) -> None:
    """Whether we would vote. Nothing changes here, whatever the answer (R12)."""
    if state.storage_full:
        state.drop(DropReason.STORAGE_FULL)
        return
    if message.term > state.term and state.hears_leader(now_ms):
        state.drop(DropReason.LEADER_HEARD)
        return
    is_free = message.term > state.term or (
        message.term == state.term and _may_vote_for(state, message.sender)
    )
    granted = is_free and state.log.is_up_to_date(message.last_index, message.last_term)
    # A grant echoes the proposed term, a refusal says our own: silence towards a lower term
    # would leave two nodes waiting for each other for ever (R12).
    term = message.term if granted else state.term
    own_id, commit = state.config.node_id, state.commit
    state.reply(
        PreVoteReply(own_id, message.sender, term, granted, commit, state.log.term(commit) or 0)
    )


def on_pre_vote_reply(state: NodeState, message: PreVoteReply, now_ms: int) -> None:
    """Late grants, and grants for another term, count for nothing."""
    if state.role is not Role.PRECANDIDATE:
        state.drop(DropReason.UNEXPECTED)
    elif message.granted and message.term == state.term + 1:
        state.votes.add(message.sender)
        _campaign_if_preelected(state, now_ms)
    elif message.granted:
        state.drop(DropReason.STALE_TERM)


def on_request_vote(state: NodeState, message: RequestVote, now_ms: int) -> None:
    """Grant at most one candidate a term, and that one as often as it asks (R9)."""
    if state.storage_full:
        state.drop(DropReason.STORAGE_FULL)
        return
    if message.term > state.term:
        if not message.transfer and state.hears_leader(now_ms):
            state.drop(DropReason.LEADER_HEARD)
            return
        become_follower(state, message.term, None, now_ms)
    granted = (
        message.term == state.term
        and _may_vote_for(state, message.sender)
        and state.log.is_up_to_date(message.last_index, message.last_term)
    )
    if granted:
        state.set_term(state.term, message.sender)
        reset_election_timer(state, now_ms)
    own_id, commit = state.config.node_id, state.commit
    commit_term = state.log.term(commit) or 0
    state.reply(RequestVoteReply(own_id, message.sender, state.term, granted, commit, commit_term))


def on_request_vote_reply(state: NodeState, message: RequestVoteReply, now_ms: int) -> None:
    """The term was compared before; only grants matter."""
    if state.role is not Role.CANDIDATE:
        state.drop(DropReason.UNEXPECTED)
    elif message.granted:
        _count_vote(state, message.sender, now_ms)


def on_leader_lost(state: NodeState, peer: NodeId, now_ms: int) -> None:
    """The transport lost this peer. If it led us, ask soon and no longer protect it."""
    if state.role is Role.FOLLOWER and state.leader == peer:
        state.leader_heard_ms = None
        shorten_election_timer(state, now_ms)


def _may_vote_for(state: NodeState, candidate: NodeId) -> bool:
    return state.vote == candidate or (state.vote is None and state.leader is None)


def _campaign_if_preelected(state: NodeState, now_ms: int) -> None:
    if state.memberships.active.has_quorum(state.votes):
        campaign(state, now_ms)


def _count_vote(state: NodeState, voter: NodeId, now_ms: int) -> None:
    state.votes.add(voter)  # a set of ids: each counts once (R8)
    if state.memberships.active.has_quorum(state.votes):
        become_leader(state, now_ms)
