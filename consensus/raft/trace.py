"""Steps of a node in the vocabulary of etcd's raft traces, and as lines of JSON.

One line per event, in causal order within a node: `name`, `nid` (node), `state` (term, vote,
commit), `role`, `log` (length), `conf` (voters, outgoing voters), and `msg` for messages.

What this module does not know: when anything happens; where lines go.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consensus.raft import messages as m
from consensus.raft.types import Role

if TYPE_CHECKING:
    from consensus.raft.events import TraceEvent

ROLE_NAMES = {
    Role.FOLLOWER: "StateFollower",
    Role.PRECANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}

_NAMES: dict[type, tuple[str, str]] = {
    m.AppendEntries: ("AppendEntriesRequest", "MsgApp"),
    m.AppendEntriesReply: ("AppendEntriesResponse", "MsgAppResp"),
    m.Heartbeat: ("AppendEntriesRequest", "MsgHeartbeat"),
    m.HeartbeatReply: ("AppendEntriesResponse", "MsgHeartbeatResp"),
    m.RequestVote: ("RequestVoteRequest", "MsgVote"),
    m.RequestVoteReply: ("RequestVoteResponse", "MsgVoteResp"),
    m.PreVote: ("PreVoteRequest", "MsgPreVote"),
    m.PreVoteReply: ("PreVoteResponse", "MsgPreVoteResp"),
    m.TimeoutNow: ("TimeoutNow", "MsgTimeoutNow"),
    m.InstallSnapshot: ("Snapshot", "MsgSnap"),
}

SENT = {kind: f"Send{name}" for kind, (name, _) in _NAMES.items()}
RECEIVED = {kind: f"Receive{name}" for kind, (name, _) in _NAMES.items()}


def line_of(event: TraceEvent) -> str:
    """One event as a line of JSON, without its end of line."""
    fields: dict[str, Any] = {
        "name": event.name,
        "nid": event.node,
        "state": {"term": event.term, "vote": event.vote or "0", "commit": event.commit},
        "role": event.role,
        "log": event.log,
        "conf": [list(group) for group in event.conf],
    }
    if event.message is not None:
        fields["msg"] = _message_of(event.message)
    if event.properties:
        fields["prop"] = dict(event.properties)
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _message_of(message: m.Message) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": _NAMES[type(message)][1],
        "term": message.term,
        "from": message.sender,
        "to": message.to,
        "entries": 0,
        "logTerm": 0,
        "index": 0,
        "commit": 0,
        "reject": False,
    }
    match message:
        case m.AppendEntries():
            fields |= {
                "entries": len(message.entries),
                "logTerm": message.prev_term,
                "index": message.prev_index,
                "commit": message.commit,
            }
        case m.AppendEntriesReply():
            fields |= {"index": message.index, "reject": not message.accepted}
            if not message.accepted:
                fields |= {"rejectHint": message.hint_index, "logTerm": message.hint_term}
        case m.Heartbeat():
            fields["commit"] = message.commit
        case m.RequestVote() | m.PreVote():
            fields |= {"index": message.last_index, "logTerm": message.last_term}
        case m.RequestVoteReply() | m.PreVoteReply():
            fields["reject"] = not message.granted
        case m.InstallSnapshot():
            fields |= {"index": message.meta.index, "logTerm": message.meta.term}
    return fields
