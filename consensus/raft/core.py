"""Raft as a pure core: events and time in, effects out.

`step` takes one event, `take` returns everything since the last take, `deadline_ms` says when the
next `Tick` is wanted. The same configuration, recovered state, randomness and events give the same
effects. This file has the dispatch; the rules live in `election`, `replication`,
`changes` and `transfer`.

What this module does not know: sockets, disks, clocks, what a command means. Peer input never
raises: it is dropped and counted, or it stops the node when it proves that a promise was broken.

Source: Ongaro and Ousterhout, "In search of an understandable consensus algorithm" (2014), Ongaro's
thesis, and the rules of etcd's raft for joint memberships.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from consensus.raft import changes, election, proposals, replication, transfer
from consensus.raft.events import (
    Applied,
    ChangeConfig,
    Effects,
    Event,
    Propose,
    ReadRequest,
    Received,
    Refused,
    SnapshotMade,
    SnapshotSent,
    StorageFailed,
    Stored,
    Tick,
    Transfer,
    Unreachable,
)
from consensus.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from consensus.raft.state import NodeState
from consensus.raft.transitions import become_follower, reset_election_timer
from consensus.raft.types import (
    Config,
    DropReason,
    HaltReason,
    Recovered,
    RefusalReason,
    Role,
    SnapshotMeta,
    Status,
    StorageFault,
)


class Raft:
    """One voter."""

    def __init__(self, config: Config, recovered: Recovered, rng: random.Random) -> None:
        self._state = NodeState(config, recovered, rng)
        self._now_ms = 0
        self._said_soft: tuple[object, ...] = ()

    @property
    def deadline_ms(self) -> int | None:
        """When it next wants a `Tick`: 0 (at once) before the first event, None after a halt."""
        state = self._state
        if state.halted is not None:
            return None
        if state.role is not Role.LEADER:
            return 0 if state.election_due_ms is None else state.election_due_ms
        due_ms = min(state.heartbeat_due_ms, state.quorum_check_due_ms)
        if state.commit_notice_due_ms is not None:
            due_ms = min(due_ms, state.commit_notice_due_ms)
        if state.transfer is not None:
            due_ms = min(due_ms, state.transfer.deadline_ms)
        return due_ms

    @property
    def dropped(self) -> Mapping[DropReason, int]:
        """How many messages had no effect, by reason."""
        return self._state.dropped

    @property
    def is_leader(self) -> bool:
        return self._state.role is Role.LEADER

    @property
    def term(self) -> int:
        return self._state.term

    @property
    def wants_turn(self) -> bool:
        """Whether a take would give anything after entries were applied: mostly it would not."""
        state = self._state
        next_page = state.applying <= state.applied < min(state.commit, state.log.stored)
        return next_page or (state.role is Role.LEADER and not state.may_campaign)

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """What followers get that lack entries which the log has no more."""
        return self._state.snapshot

    @property
    def priority_ms(self) -> int:
        """Added to the own campaign delay from the next draw on: who is the better leader
        campaigns first. It never decides who may lead."""
        return self._state.priority_ms

    @priority_ms.setter
    def priority_ms(self, delay_ms: int) -> None:
        self._state.priority_ms = max(0, delay_ms)

    def step(self, event: Event, *, now_ms: int) -> None:
        """Take in one event. `now_ms` must never go back."""
        state = self._state
        self._now_ms = now_ms
        if state.halted is not None:
            return
        if state.role is not Role.LEADER and state.election_due_ms is None:
            reset_election_timer(state, now_ms)
            if state.may_campaign and not state.others:
                state.election_due_ms = now_ms  # nobody else could lead
        match event:
            case Tick():
                self._on_tick(now_ms)
            case Received(message):
                self._on_message(message, now_ms)
            case Propose():
                proposals.on_propose(state, event)
            case ReadRequest(request):
                self._on_read_request(request)
            case Transfer(target):
                transfer.on_transfer(state, target, now_ms)
            case ChangeConfig():
                changes.on_change_config(state, event)
            case Stored(batch):
                state.on_stored(batch)
                election.count_own_vote(state, now_ms)
                replication.advance_commit(state, now_ms)
            case Applied(index):
                state.on_applied(index)
            case SnapshotMade(meta):
                assert meta.index <= state.applied, "a snapshot of what was not applied"
                state.compact(meta)
            case SnapshotSent(peer, ok):
                replication.on_snapshot_sent(state, peer, ok=ok)
            case Unreachable(peer):
                replication.on_follower_lost(state, peer)
                election.on_leader_lost(state, peer, now_ms)
            case StorageFailed(fault):
                self._on_storage_failed(fault, now_ms)
        if state.role is Role.LEADER and not state.may_campaign:
            replication.send_commit_notices(state)
            changes.step_down_if_removed(state, now_ms)

    def take(self) -> Effects:
        """Return everything since the last take, coalesced."""
        state = self._state
        if state.reads.is_due:
            replication.begin_reads(state)
        if state.replicate_due:
            replication.replicate(state)
        effects = state.take()
        soft = (state.role, state.term, state.leader, state.memberships.active_index)
        if soft != self._said_soft:
            self._said_soft = soft
            effects = replace(effects, soft=self.status())
        return effects

    def status(self) -> Status:
        """Return a picture of this node."""
        state = self._state
        is_leader = state.role is Role.LEADER
        match = {peer: progress.match for peer, progress in state.progress.items()}
        if is_leader:
            match[state.config.node_id] = state.log.stored
        return Status(
            node_id=state.config.node_id,
            role=state.role,
            term=state.term,
            leader=state.leader,
            commit=state.commit,
            applied=state.applied,
            last_index=state.log.last_index,
            voters=state.memberships.active.voters,
            membership=state.memberships.active,
            membership_index=state.memberships.active_index,
            is_changing=state.memberships.is_changing,
            base_index=state.log.base_index,
            snapshot_index=0 if state.snapshot is None else state.snapshot.index,
            fresh_ms=state.freshness.fresh_ms,
            match=match,
            leader_since_ms=state.leader_since_ms,
            quorum_ok=state.quorum_heard if is_leader else state.hears_leader(self._now_ms),
            stored=state.log.stored,
            storage_full=state.storage_full,
            halted=state.halted,
        )

    def check_invariants(self) -> None:
        """Assert what must always hold."""
        self._state.check_invariants()

    # -- time and storage ----------------------------------------------------------------------

    def _on_tick(self, now_ms: int) -> None:
        state = self._state
        if state.role is not Role.LEADER:
            if state.election_due_ms is not None and now_ms >= state.election_due_ms:
                election.on_election_timeout(state, now_ms)
            return
        if now_ms >= state.quorum_check_due_ms:
            replication.check_quorum(state, now_ms)
            if state.leader != state.config.node_id:
                return  # stepped down: a leader without a majority is silent (R13)
        if state.transfer is not None and now_ms >= state.transfer.deadline_ms:
            transfer.give_up_transfer(state)
        if now_ms >= state.heartbeat_due_ms:
            replication.send_heartbeats(state, now_ms)
        elif state.commit_notice_due_ms is not None and now_ms >= state.commit_notice_due_ms:
            replication.send_commit_notices(state)

    def _on_read_request(self, request: int) -> None:
        state = self._state
        if state.role is Role.LEADER:
            state.reads.ask(request)
        else:
            refused = Refused(request, 1, RefusalReason.NOT_LEADER, state.leader)
            state.outbox.results.append(refused)

    def _on_storage_failed(self, fault: StorageFault, now_ms: int) -> None:
        """A failed write ends the node; a full disk only keeps it from leading (R24)."""
        state = self._state
        if fault is StorageFault.IO_ERROR:
            state.halt(HaltReason.IO_ERROR)
            return
        state.storage_full = True
        if state.role is not Role.FOLLOWER:
            become_follower(state, state.term, None, now_ms)

    # -- messages ------------------------------------------------------------------------------

    def _on_message(self, message: Message, now_ms: int) -> None:
        state = self._state
        if message.to != state.config.node_id:
            state.drop(DropReason.WRONG_RECIPIENT)
            return
        if not self._is_heard(message):
            state.drop(DropReason.UNKNOWN_SENDER)  # strangers cannot raise the term (R32)
            return
        state.note_received(message)
        if isinstance(message, PreVoteReply | RequestVoteReply):
            changes.learn_commit(state, message, now_ms)
        if message.term < state.term:
            self._on_past_term(message, now_ms)
        else:
            if message.term > state.term:
                self._enter_term_of(message, now_ms)
            self._dispatch(message, now_ms)

    def _is_heard(self, message: Message) -> bool:
        """Members of the membership in force or of a pending one; and whoever knows a newer one
        than we do, for it may have come while we were away (R32)."""
        state = self._state
        if message.sender == state.config.node_id:
            return False
        if state.memberships.names(message.sender) or message.sender == state.leader:
            return True
        known: int = getattr(message, "config_index", 0)
        return known > state.memberships.active_index

    def _enter_term_of(self, message: Message, now_ms: int) -> None:
        """A higher term makes anyone a follower (R11), unless it is only being thought about."""
        match message:
            case PreVote() | PreVoteReply(granted=True):
                pass  # the term that somebody would campaign in (R12)
            case RequestVote():
                pass  # `on_request_vote` first asks whether a leader is heard (R13)
            case _:
                become_follower(self._state, message.term, None, now_ms)

    def _on_past_term(self, message: Message, now_ms: int) -> None:
        """Requests are answered with our term: it frees a node that is stuck in the past (R9, R12,
        R13). Answers to what this node asked in an earlier term mean nothing now (R7)."""
        state = self._state
        match message:
            case AppendEntries() | Heartbeat() | TimeoutNow() | InstallSnapshot():
                state.reply(HeartbeatReply(state.config.node_id, message.sender, state.term))
            case PreVote():
                election.on_pre_vote(state, message, now_ms)
            case RequestVote():
                election.on_request_vote(state, message, now_ms)
            case _:
                state.drop(DropReason.STALE_TERM)

    def _dispatch(self, message: Message, now_ms: int) -> None:
        state = self._state
        match message:
            case AppendEntries():
                replication.on_append_entries(state, message, now_ms)
            case AppendEntriesReply():
                replication.on_append_entries_reply(state, message, now_ms)
            case Heartbeat():
                replication.on_heartbeat(state, message, now_ms)
            case HeartbeatReply():
                replication.on_heartbeat_reply(state, message)
            case PreVote():
                election.on_pre_vote(state, message, now_ms)
            case PreVoteReply():
                election.on_pre_vote_reply(state, message, now_ms)
            case RequestVote():
                election.on_request_vote(state, message, now_ms)
            case RequestVoteReply():
                election.on_request_vote_reply(state, message, now_ms)
            case TimeoutNow():
                transfer.on_timeout_now(state, message, now_ms)
            case InstallSnapshot():
                replication.on_install_snapshot(state, message, now_ms)
