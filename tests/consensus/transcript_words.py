"""What the transcripts print: messages, entries, memberships and batches in one fixed form.

Entries are `index/term data`, `-` stands for a leader's first entry. What a message does not say
(zero, nothing) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consensus.raft import (
    Accepted,
    AppendEntries,
    AppendEntriesReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    Message,
    PreVote,
    PreVoteReply,
    Refused,
    RequestVote,
    RequestVoteReply,
    Result,
    SnapshotMeta,
    Status,
    StoreBatch,
    TimeoutNow,
    TransferEnded,
)

KINDS: dict[str, type[Message]] = {
    "Append": AppendEntries,
    "AppendReply": AppendEntriesReply,
    "Heartbeat": Heartbeat,
    "HeartbeatReply": HeartbeatReply,
    "Vote": RequestVote,
    "VoteReply": RequestVoteReply,
    "PreVote": PreVote,
    "PreVoteReply": PreVoteReply,
    "TimeoutNow": TimeoutNow,
    "Snapshot": InstallSnapshot,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def of_message(message: Message) -> str:
    """One message, its link first."""
    parts = [f"{message.sender}->{message.to} {NAMES[type(message)]} t{message.term}"]
    match message:
        case PreVote() | RequestVote():
            parts.append(f"log {message.last_index}/{message.last_term}")
            if isinstance(message, RequestVote) and message.transfer:
                parts.append("transfer")
        case PreVoteReply() | RequestVoteReply():
            parts.append("yes" if message.granted else "no")
            if message.commit:
                parts.append(f"commit {message.commit}/{message.commit_term}")
        case AppendEntries():
            parts.append(f"after {message.prev_index}/{message.prev_term}")
            parts.append(f"[{of_entries(message.entries)}]")
            parts.append(f"commit {message.commit}")
        case AppendEntriesReply() if message.accepted:
            parts.append(f"has {message.index}")
        case AppendEntriesReply():
            parts.append(f"not {message.index}, try {message.hint_index}/{message.hint_term}")
        case Heartbeat():
            parts.append(f"commit {message.commit}")
            parts.extend([f"read {message.read}"] if message.read else [])
        case HeartbeatReply():
            parts.extend([f"read {message.read}"] if message.read else [])
        case InstallSnapshot():
            parts.append(of_snapshot(message.meta))
        case TimeoutNow():
            pass
    known = getattr(message, "config_index", 0)
    parts.extend([f"members {known}"] if known else [])
    return " ".join(parts)


def of_entries(entries: Sequence[Entry]) -> str:
    return ", ".join(of_entry(entry) for entry in entries)


def of_entry(entry: Entry) -> str:
    match entry.kind:
        case EntryKind.NOOP:
            text = "-"
        case EntryKind.MEMBERSHIP:
            text = of_membership(Membership.decode(entry.data))
        case _:
            text = entry.data.decode()
    return f"{entry.index}/{entry.term} {text}"


def of_membership(membership: Membership) -> str:
    """`(1 2 4)&&(1 2 3) learners (5) then (3)`: joint, and 3 becomes a learner by leaving it."""
    text = _group(membership.voters)
    if membership.outgoing:
        text += "&&" + _group(membership.outgoing)
    if membership.learners:
        text += " learners " + _group(membership.learners)
    if membership.learners_next:
        text += " then " + _group(membership.learners_next)
    return text


def of_snapshot(meta: SnapshotMeta) -> str:
    members = of_membership(meta.membership)
    return f"snapshot {meta.index}/{meta.term} {members} of {meta.membership_index}"


def of_batch(batch: StoreBatch) -> str:
    """In the order in which it becomes durable."""
    parts = []
    if batch.install is not None:
        parts.append(f"install {batch.install.index}/{batch.install.term}")
    if batch.truncate_from is not None:
        parts.append(f"cut {batch.truncate_from}..")
    if batch.entries:
        parts.append(f"[{of_entries(batch.entries)}]")
    if batch.hard is not None:
        parts.append(f"t{batch.hard.term} vote {batch.hard.vote or '-'} commit {batch.commit}")
    if batch.compact_to is not None:
        parts.append(f"compact {batch.compact_to}")
    return f"stores #{batch.batch}: " + ", ".join(parts)


def of_sent(messages: Iterable[Message]) -> list[str]:
    """One line a kind: `sends Append to 2, 3`."""
    receivers: dict[str, list[str]] = {}
    for message in messages:
        receivers.setdefault(NAMES[type(message)], []).append(message.to)
    return [f"sends {name} to {', '.join(to)}" for name, to in receivers.items()]


def of_result(result: Result) -> str:
    match result:
        case Accepted():
            last = result.first_index + result.count - 1
            behind = "" if result.count == 1 else f"..{last}/{result.term}"
            return f"accepted {result.first_index}/{result.term}{behind}"
        case Refused():
            return f"refused: {result.reason.value}"
        case TransferEnded():
            return f"transfer {'worked' if result.moved else 'ended without effect'}"


def of_role(status: Status) -> str:
    """Who it is for others: role, term, leader."""
    leader = f", leader {status.leader}" if status.leader not in (None, status.node_id) else ""
    return f"{status.role.value} t{status.term}{leader}"


def of_status(status: Status) -> str:
    bounds = (
        f"log {status.base_index}..{status.last_index}"
        if status.base_index
        else (f"log ..{status.last_index}")
    )
    members = of_membership(status.membership)
    return (
        f"{status.node_id} {of_role(status)}; {bounds} commit {status.commit} "
        f"applied {status.applied}; {members} of {status.membership_index}"
    )


def _group(names: Sequence[str]) -> str:
    return f"({' '.join(names)})"
