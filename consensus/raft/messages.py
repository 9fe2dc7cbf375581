"""What members say to each other. They come in pairs; each carries its sender's term (R7).

`config_index` is that of the entry which brought the sender's membership: a receiver that does not
know the sender hears it only if the sender knows a newer membership than itself (R32).

Data only: the bytes are the codec's business. `PreVote.term` is the term that the sender would
campaign in, not its own (paper 9.6 of the thesis; etcd's rules).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.raft.membership import NodeId
from consensus.raft.types import Entry, SnapshotMeta


@dataclass(frozen=True, slots=True)
class PreVote:
    """Would you vote for me in `term`? Changes nothing on any disk."""

    sender: NodeId
    to: NodeId
    term: int
    last_index: int
    last_term: int
    config_index: int = 0


@dataclass(frozen=True, slots=True)
class PreVoteReply:
    """A grant echoes the proposed term, a refusal carries the refuser's own (R12).

    (`commit`, `commit_term`) is the last entry that the sender knows to be committed: what nobody
    but those who have left know could otherwise keep the others from electing anybody (R22).
    """

    sender: NodeId
    to: NodeId
    term: int
    granted: bool
    commit: int = 0
    commit_term: int = 0


@dataclass(frozen=True, slots=True)
class RequestVote:
    """Vote for me. `transfer`: the old leader asked for this, so stickiness does not apply."""

    sender: NodeId
    to: NodeId
    term: int
    last_index: int
    last_term: int
    transfer: bool = False
    config_index: int = 0


@dataclass(frozen=True, slots=True)
class RequestVoteReply:
    """Sent only after the vote is durable; refusals are answered too (R9). The commit index as in
    `PreVoteReply`."""

    sender: NodeId
    to: NodeId
    term: int
    granted: bool
    commit: int = 0
    commit_term: int = 0


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """Entries that follow (`prev_index`, `prev_term`), contiguous, and the commit index."""

    sender: NodeId
    to: NodeId
    term: int
    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[Entry, ...] = ()
    config_index: int = 0


@dataclass(frozen=True, slots=True)
class AppendEntriesReply:
    """Accepted: durable here and equal to the leader's log up to `index`.

    Refused: `index` is the `prev_index` that did not fit; (`hint_index`, `hint_term`) is the last
    place where the two logs may still agree (R28).
    """

    sender: NodeId
    to: NodeId
    term: int
    accepted: bool
    index: int
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """I lead. `commit` never exceeds what the receiver has confirmed (R6).

    `read` numbers the round for reads that wait (R15). `echo_ms` is the stamp of the receiver's
    latest answer: this message was made after that one, so it bounds the age of `known_commit`.
    """

    sender: NodeId
    to: NodeId
    term: int
    commit: int
    config_index: int = 0
    read: int = 0
    known_commit: int = 0
    echo_ms: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """I hear you; or, with a higher term: your term is over."""

    sender: NodeId
    to: NodeId
    term: int
    read: int = 0
    stamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """Campaign at once: the leader hands over (thesis 3.10)."""

    sender: NodeId
    to: NodeId
    term: int


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """Your log is replaced by this snapshot. It comes to the core when the whole of it is durable
    at the receiver; the parts are the shell's business."""

    sender: NodeId
    to: NodeId
    term: int
    meta: SnapshotMeta
    config_index: int = 0


Message = (
    PreVote
    | PreVoteReply
    | RequestVote
    | RequestVoteReply
    | AppendEntries
    | AppendEntriesReply
    | Heartbeat
    | HeartbeatReply
    | TimeoutNow
    | InstallSnapshot
)
