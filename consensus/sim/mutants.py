"""The test of the test: ways to break the core, each of which the simulator must notice.

A mutant replaces one rule by the mistake that real systems have shipped in its place; a simulator
that lets it live proves nothing. What this module does not know: how the simulator notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consensus.raft import Entry, Message, Role, election, replication, transitions
from consensus.raft.log import Log
from consensus.raft.membership import NodeId
from consensus.raft.messages import (
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    RequestVote,
    RequestVoteReply,
)
from consensus.raft.progress import Progress
from consensus.raft.state import NodeState
from consensus.raft.types import DropReason
from consensus.sim.simulation import run_seed
from consensus.sim.weather import STORM

Patch = tuple[object, str, Callable[..., object]]


def _votes_before_the_disk(state: NodeState, message: Message) -> None:
    is_vote = isinstance(message, RequestVote | RequestVoteReply)
    (state.send if is_vote else state.outbox.send_stored.append)(message)


def _confirms_before_the_disk(state: NodeState, message: Message) -> None:
    is_answer = isinstance(message, AppendEntriesReply)
    (state.send if is_answer else state.outbox.send_stored.append)(message)


def _counts_its_memory(state: NodeState, now_ms: int) -> None:
    _commit_by(state, now_ms, own=state.log.last_index, any_term=False)


def _counts_any_term(state: NodeState, now_ms: int) -> None:
    _commit_by(state, now_ms, own=state.log.stored, any_term=True)


def _commit_by(state: NodeState, now_ms: int, *, own: int, any_term: bool) -> None:
    if state.role is not Role.LEADER:
        return
    copies = sorted([own, *(p.match for p in state.progress.values())], reverse=True)
    index = copies[(len(state.config.voters) // 2 + 1) - 1]
    if index > state.commit and (any_term or state.log.term(index) == state.term):
        state.commit = index
        state.commit_notice_due_ms = now_ms


def _cuts_behind_every_message(state: NodeState, entries: tuple[Entry, ...]) -> None:
    if entries and entries[0].index <= state.log.last_index:
        if entries[0].index <= state.commit:
            return
        state.truncate(entries[0].index)
    state.append(entries)


def _counts_votes_by_number(state: NodeState, voter: NodeId, now_ms: int) -> None:
    name = voter
    while name in state.votes:
        name += "+"
    state.votes.add(name)
    if len(state.votes) >= (len(state.config.voters) // 2 + 1):
        transitions.become_leader(state, now_ms)


def _believes_any_commit(state: NodeState, message: Heartbeat, now_ms: int) -> None:
    if replication.follow(state, message.sender, now_ms):
        state.commit = max(state.commit, min(message.commit, state.log.last_index))
        state.reply(HeartbeatReply(message.to, message.sender, state.term))


def _sends_its_whole_commit(state: NodeState, peer: NodeId, progress: Progress) -> None:
    state.send(Heartbeat(state.config.node_id, peer, state.term, state.commit))


def _compares_lengths_only(own: Log, last_index: int, last_term: int) -> bool:
    return last_index >= own.last_index


def _never_steps_down(state: NodeState, now_ms: int) -> None:
    state.quorum_check_due_ms = now_ms + state.config.election_timeout_ms


def _never_says_refusals(state: NodeState, message: HeartbeatReply) -> None:
    progress = state.progress.get(message.sender)
    if progress is None:
        state.drop(DropReason.UNEXPECTED)
    else:
        progress.is_active = True


MUTANTS: dict[str, tuple[Patch, ...]] = {
    "R1 votes are said before they are durable": (
        (NodeState, "reply", lambda state, message: state.send(message)),
        (NodeState, "send_when_stored", _votes_before_the_disk),
    ),
    "R2 appends are confirmed before they are durable": (
        (NodeState, "send_when_stored", _confirms_before_the_disk),
    ),
    "R2 the leader counts what only its memory has": (
        (replication, "advance_commit", _counts_its_memory),
    ),
    "R3 entries of earlier terms are committed by counting": (
        (replication, "advance_commit", _counts_any_term),
    ),
    "R5 a repeated append cuts what lies behind it": (
        (replication, "_take_entries", _cuts_behind_every_message),
    ),
    "R6 a heartbeat's commit index is not bounded": (
        (replication, "_send_heartbeat", _sends_its_whole_commit),
        (replication, "on_heartbeat", _believes_any_commit),
    ),
    "R8 votes are counted by number": ((election, "_count_vote", _counts_votes_by_number),),
    "R10 only lengths of logs are compared": ((Log, "is_up_to_date", _compares_lengths_only),),
    "R13 a leader without a quorum never steps down": (
        (replication, "check_quorum", _never_steps_down),
    ),
    "R27 a heartbeat's answer wakes no lagging window": (
        (replication, "on_heartbeat_reply", _never_says_refusals),
    ),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The core with one of its rules broken, for as long as this lasts."""
    patches = MUTANTS[name]
    before = [getattr(owner, attribute) for owner, attribute, _ in patches]
    for owner, attribute, mistake in patches:
        setattr(owner, attribute, mistake)
    try:
        yield
    finally:
        for (owner, attribute, _), original in zip(patches, before, strict=True):
            setattr(owner, attribute, original)


def hunt(name: str, seeds: int) -> tuple[int, str] | None:
    """Run seeds, by turns in drawn weather and in the storm, until one breaks: which, and how."""
    with planted(name):
        for seed in range(seeds):
            for weather in (None, STORM):
                try:
                    run_seed(seed, weather)
                except AssertionError as error:
                    return seed, str(error).partition("\n")[0]
    return None
