"""The log on its way: appends, heartbeats, their answers, and what becomes committed.

Paper sections 5.3 and 5.4.2; pipelining as in thesis 10.2.1; probe and replicate as in etcd's raft.

What this module does not know: how leaders are elected, disks, sockets.

Invariants: an acknowledgement leaves only when what it confirms is durable (R2); entries are cut
only where they contradict the leader, and never below commit (R5); a commit index goes no further
than what a message has verified (R6); only entries of the own term are committed by counting (R3).
"""

from __future__ import annotations

from consensus.raft.changes import commit_to
from consensus.raft.events import ReadReady
from consensus.raft.membership import NodeId
from consensus.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
)
from consensus.raft.progress import Phase, Progress
from consensus.raft.state import NodeState
from consensus.raft.transfer import tell_target_if_ready
from consensus.raft.transitions import become_follower, reset_election_timer
from consensus.raft.types import DropReason, Entry, HaltReason, Role

# Pages of one turn by their first index: followers that are equally far share them, and so whatever
# is made of a page later, such as its bytes.
Pages = dict[int, tuple[Entry, ...]]

# -- what a leader sends ---------------------------------------------------------------------------


def replicate(state: NodeState) -> None:
    """Offer every follower what it lacks, as far as its window allows."""
    state.replicate_due = False
    pages: Pages = {}
    for peer, progress in state.progress.items():
        _send_entries(state, peer, progress, pages)


def send_heartbeats(state: NodeState, now_ms: int) -> None:
    """To everybody: they keep followers quiet and tell the quorum check who is there."""
    state.heartbeat_due_ms = now_ms + state.config.heartbeat_ms
    state.commit_notice_due_ms = None
    for peer, progress in state.progress.items():
        _send_heartbeat(state, peer, progress)


def send_commit_notices(state: NodeState) -> None:
    """To those that no append has told of the commit index since it moved."""
    state.commit_notice_due_ms = None
    for peer, progress in state.progress.items():
        if progress.commit_sent < min(progress.match, state.commit):
            _send_heartbeat(state, peer, progress)


def _send_heartbeat(state: NodeState, peer: NodeId, progress: Progress) -> None:
    # Never more than this follower has confirmed: what lies behind may be another log (R6).
    commit = min(progress.match, state.commit)
    progress.commit_sent = max(progress.commit_sent, commit)
    state.send(
        Heartbeat(
            state.config.node_id,
            peer,
            state.term,
            commit,
            state.memberships.active_index,
            state.reads.number,
            state.commit,
            # A new leader may not know yet how far the last one had committed (R4).
            progress.stamp_ms if state.has_committed_own else 0,
        )
    )


def _send_entries(state: NodeState, peer: NodeId, progress: Progress, pages: Pages) -> None:
    config, log = state.config, state.log
    if progress.next <= log.base_index:
        _begin_snapshot(state, peer, progress)
        return
    while progress.next <= log.last_index and progress.has_room(
        config.max_inflight, config.max_inflight_bytes
    ):
        first = progress.next
        page = pages.get(first)
        if page is None:
            page = log.page(first, log.last_index, log.last_index, config.max_append_bytes)
            pages[first] = page
        last = first + len(page) - 1
        _send_append(state, peer, progress, page)
        progress.sent(last, log.data_bytes(first, last))


def _begin_snapshot(state: NodeState, peer: NodeId, progress: Progress) -> None:
    """It lacks entries that are in the log no more; only who is there gets so much."""
    if progress.phase is Phase.SNAPSHOT or not progress.is_active:
        return
    assert state.snapshot is not None, "the log begins behind a snapshot"
    progress.begin_snapshot(state.snapshot.index)
    state.outbox.need_snapshot.append(peer)


def _send_append(
    state: NodeState, peer: NodeId, progress: Progress, entries: tuple[Entry, ...]
) -> None:
    prev_index = progress.next - 1
    prev_term = state.log.term(prev_index)
    assert prev_term is not None, "a follower's next index is beyond our log"
    if not progress.is_probing:
        verified = prev_index + len(entries)
        progress.commit_sent = max(progress.commit_sent, min(state.commit, verified))
    state.send(
        AppendEntries(
            state.config.node_id,
            peer,
            state.term,
            prev_index,
            prev_term,
            state.commit,
            entries,
            state.memberships.active_index,
        )
    )


# -- what a follower does with it ------------------------------------------------------------------


def on_append_entries(state: NodeState, message: AppendEntries, now_ms: int) -> None:
    """Take what follows our log and answer when it is durable (paper figure 2)."""
    if not _is_well_formed(message):
        state.drop(DropReason.BAD_ENTRIES)
        return
    if not follow(state, message.sender, now_ms):
        return
    if state.storage_full and message.entries:
        state.drop(DropReason.STORAGE_FULL)
        return
    entries, base_index = message.entries, state.log.base_index
    if message.prev_index < base_index:
        # What lies behind a snapshot is committed, so it is the leader's too (paper 5.4.3).
        entries = entries[base_index - message.prev_index :]
    elif not state.log.matches(message.prev_index, message.prev_term):
        if message.prev_index <= state.commit:
            state.halt(HaltReason.COMMITTED_CONFLICT)
            return
        _refuse(state, message)
        return
    _take_entries(state, entries)
    if state.halted is not None:
        return
    verified = max(base_index, message.prev_index + len(message.entries))
    commit_to(state, min(message.commit, verified), now_ms)
    _confirm(state, message.sender, verified)


def on_heartbeat(state: NodeState, message: Heartbeat, now_ms: int) -> None:
    """The leader is there. Its commit index is one that this node has confirmed in this term."""
    if not follow(state, message.sender, now_ms):
        return
    if message.commit > state.log.last_index:
        state.halt(HaltReason.LOST_ENTRIES)
        return
    commit_to(state, message.commit, now_ms)
    state.freshness.heard(message.known_commit, message.echo_ms, state.applied)
    state.freshness.said(now_ms)
    own_id = state.config.node_id
    state.reply(HeartbeatReply(own_id, message.sender, state.term, message.read, now_ms))


def on_install_snapshot(state: NodeState, message: InstallSnapshot, now_ms: int) -> None:
    """A whole snapshot of the leader's is durable here: take it if it is ahead of us (R20)."""
    if not follow(state, message.sender, now_ms):
        return
    if state.storage_full:
        state.drop(DropReason.STORAGE_FULL)
        return
    meta = message.meta
    if meta.index > state.commit:
        if state.log.matches(meta.index, meta.term):
            commit_to(state, meta.index, now_ms)  # we have all of it: keep what lies behind
        else:
            state.install(meta)
    _confirm(state, message.sender, min(meta.index, state.commit))


def follow(state: NodeState, leader: NodeId, now_ms: int) -> bool:
    """A message of this term's leader has come (R11); False if that cannot be."""
    if state.role is Role.LEADER:
        state.halt(HaltReason.SECOND_LEADER)
        return False
    become_follower(state, state.term, leader, now_ms)
    state.leader_heard_ms = now_ms
    reset_election_timer(state, now_ms)
    return True


def _take_entries(state: NodeState, entries: tuple[Entry, ...]) -> None:
    """Skip what is here already: a short, old or repeated message cuts nothing (R5)."""
    for position, entry in enumerate(entries):
        if state.log.matches(entry.index, entry.term):
            continue
        if entry.index <= state.log.last_index:
            state.truncate(entry.index)
        if state.halted is None:
            state.append(entries[position:])
        return


def _confirm(state: NodeState, leader: NodeId, verified: int) -> None:
    """One acknowledgement for all appends of a turn: the last one covers those before it."""
    waiting = state.outbox.send_stored
    last = waiting[-1] if waiting else None
    if isinstance(last, AppendEntriesReply) and (last.to, last.term, last.accepted) == (
        leader,
        state.term,
        True,
    ):
        verified = max(verified, last.index)
        waiting.pop()
    state.send_when_stored(
        AppendEntriesReply(state.config.node_id, leader, state.term, True, verified)
    )


def _refuse(state: NodeState, message: AppendEntries) -> None:
    """Say where the logs may still agree, so that a whole term is skipped at once (R28)."""
    hint_index, hint_term = state.log.agreeing(message.prev_index, message.prev_term)
    own_id, term = state.config.node_id, state.term
    state.reply(
        AppendEntriesReply(
            own_id, message.sender, term, False, message.prev_index, hint_index, hint_term
        )
    )


def _is_well_formed(message: AppendEntries) -> bool:
    """Contiguous entries, whose terms never fall and never exceed the message's."""
    index, term = message.prev_index, message.prev_term
    for entry_index, entry_term, _, _ in message.entries:
        index += 1
        if entry_index != index or not term <= entry_term <= message.term:
            return False
        term = entry_term
    return term <= message.term


# -- what a leader learns from the answers ---------------------------------------------------------


def on_append_entries_reply(state: NodeState, message: AppendEntriesReply, now_ms: int) -> None:
    """Of the own term only: the core has dropped all others (R7)."""
    progress = state.progress.get(message.sender)
    if progress is None:
        state.drop(DropReason.UNEXPECTED)
        return
    if message.index > state.log.last_index:
        state.drop(DropReason.BAD_INDEX)
        return
    progress.is_active = True
    if not message.accepted:
        _step_back(state, progress, message)
    elif progress.confirmed(message.index):
        advance_commit(state, now_ms)
        tell_target_if_ready(state)
    state.replicate_due = True


def on_heartbeat_reply(state: NodeState, message: HeartbeatReply) -> None:
    """The follower is there. If it lags, show it where it should be: a lost window or probe then
    becomes a refusal, instead of silence for ever (R27)."""
    progress = state.progress.get(message.sender)
    if progress is None:
        state.drop(DropReason.UNEXPECTED)
        return
    progress.is_active = True
    progress.stamp_ms = message.stamp_ms
    progress.read_confirmed = max(progress.read_confirmed, min(message.read, state.reads.number))
    confirm_reads(state)
    if progress.match >= state.log.last_index or progress.phase is Phase.SNAPSHOT:
        return
    progress.resume()
    lacks_base = progress.next <= state.log.base_index
    if lacks_base or (progress.is_probing and progress.next <= state.log.last_index):
        state.replicate_due = True
    else:
        _send_append(state, message.sender, progress, ())


# -- reads -----------------------------------------------------------------------------------------


def begin_reads(state: NodeState) -> None:
    """Start a round for the reads that wait, once it can prove anything (R4, R15)."""
    if not state.has_committed_own:
        return
    state.reads.begin(state.commit)
    for peer in state.others:
        _send_heartbeat(state, peer, state.progress[peer])
    confirm_reads(state)


def confirm_reads(state: NodeState) -> None:
    """Serve the round under way if a quorum has answered it, in this term and since it began."""
    if not state.reads.is_under_way:
        return
    number = state.reads.number
    heard = {peer for peer, one in state.progress.items() if one.read_confirmed >= number}
    heard.add(state.config.node_id)
    if state.memberships.active.has_quorum(heard):
        requests, index = state.reads.confirm()
        state.outbox.reads.extend(ReadReady(request, index) for request in requests)


def _step_back(state: NodeState, progress: Progress, message: AppendEntriesReply) -> None:
    """Probe from the last place where the two logs may agree; stale refusals change nothing."""
    is_stale = (
        message.index <= progress.match
        or progress.phase is Phase.SNAPSHOT
        or (progress.is_probing and message.index != progress.next - 1)
    )
    if is_stale:
        return
    hint_index = max(0, min(message.hint_index, message.index - 1))
    meeting_index, _ = state.log.agreeing(hint_index, message.hint_term)
    progress.probe(meeting_index + 1)


def advance_commit(state: NodeState, now_ms: int) -> None:
    """Commit what a majority has on disk. The own copy counts when it is durable, like any (R2)."""
    if state.role is not Role.LEADER:
        return
    match = {peer: progress.match for peer, progress in state.progress.items()}
    match[state.config.node_id] = state.log.stored
    index = state.memberships.active.agreed(match)
    # An older term's entry could still be replaced although a majority has it (paper figure 8):
    # it is committed by the first entry of this term behind it, never by counting (R3).
    if index <= state.commit or state.log.term(index) != state.term:
        return
    state.uncommitted_bytes -= state.log.data_bytes(state.commit + 1, index)
    membership_index = state.memberships.active_index
    commit_to(state, index, now_ms)
    state.replicate_due = True
    if state.commit_notice_due_ms is None:
        state.commit_notice_due_ms = now_ms + state.config.commit_notice_ms
    if state.memberships.active_index != membership_index:
        # Those who are left may have agreed to more already, and will not say it again.
        confirm_reads(state)
        advance_commit(state, now_ms)


def check_quorum(state: NodeState, now_ms: int) -> None:
    """Step down, and so fall silent, when no majority was heard for an election timeout (R13)."""
    state.quorum_check_due_ms = now_ms + state.config.election_timeout_ms
    heard = {peer for peer, progress in state.progress.items() if progress.is_active}
    heard.add(state.config.node_id)
    state.quorum_heard = state.memberships.active.has_quorum(heard)
    for progress in state.progress.values():
        progress.is_active = False
    if not state.quorum_heard:
        become_follower(state, state.term, None, now_ms)


def on_follower_lost(state: NodeState, peer: NodeId) -> None:
    """What was on the way to this follower is probably lost: feel the way again (R27)."""
    progress = state.progress.get(peer)
    if progress is not None and progress.phase is Phase.REPLICATE:
        progress.probe(progress.match + 1)
        state.replicate_due = True


def on_snapshot_sent(state: NodeState, peer: NodeId, *, ok: bool) -> None:
    """The shell has ended sending a snapshot: feel the way again."""
    progress = state.progress.get(peer)
    if progress is not None and progress.phase is Phase.SNAPSHOT:
        progress.end_snapshot(arrived=ok)
        progress.is_active = progress.is_active and ok  # a failed one waits for a sign of life
        state.replicate_due = True
