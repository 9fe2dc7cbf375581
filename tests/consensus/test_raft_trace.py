"""What a node says of its steps, in the vocabulary of etcd's raft traces."""

import json
from itertools import pairwise

from transcript_lab import Lab

from consensus.raft import (
    AppendEntries,
    AppendEntriesReply,
    ChangeConfig,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    RequestVote,
    RequestVoteReply,
    SnapshotMeta,
    TimeoutNow,
    TraceEvent,
)
from consensus.raft.trace import RECEIVED, SENT, line_of


def traced() -> Lab:
    """An election, a command, and a member less."""
    lab = Lab("1", "2", "3", trace=True)
    lab.elect("1")
    lab.step("1", Propose(1, [b"x"]))
    lab.stabilize()
    lab.step("1", ChangeConfig(2, ("1", "2")))
    lab.stabilize()
    lab.run(100)
    return lab


def test_nothing_is_said_unless_it_is_wanted() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    assert not any(member.trace for member in lab.members.values())


def test_tracing_changes_nothing() -> None:
    seen = []
    for trace in (False, True):
        lab = Lab("1", "2", "3", trace=trace)
        lab.run(3000)
        seen.append(lab.sent)
    assert seen[0] == seen[1]


def test_a_first_leaders_steps_come_in_the_order_in_which_it_takes_them() -> None:
    lab = Lab("1", "2", "3", trace=True)
    lab.elect("1")
    assert [event.name for event in lab["1"].trace[:12]] == [
        "InitState",
        "BecomePreCandidate",
        "SendPreVoteRequest",
        "SendPreVoteRequest",
        "ReceivePreVoteResponse",
        "BecomeCandidate",
        "SendRequestVoteRequest",
        "SendRequestVoteRequest",
        "Ready",
        "ReceivePreVoteResponse",
        "ReceiveRequestVoteResponse",
        "BecomeLeader",
    ]
    assert [event.name for event in lab["1"].trace[12:18]] == [
        "Replicate",
        "SendAppendEntriesRequest",
        "SendAppendEntriesRequest",
        "Ready",
        "ReceiveRequestVoteResponse",
        "ReceiveAppendEntriesResponse",
    ]


def test_every_message_is_said_by_who_sends_it_and_by_who_gets_it() -> None:
    lab = traced()
    for name, member in lab.members.items():
        said = [e.message for e in member.trace if e.name.startswith("Send")]
        assert sorted(said, key=repr) == sorted((m for m in lab.sent if m.sender == name), key=repr)
    for name in "12":  # 3 has left, and is not heard any more
        got = [e.message for e in lab[name].trace if e.name.startswith("Receive")]
        sent = [m for m in lab.sent if m.to == name and m not in lab.flying]
        assert [m for m in got if m and m.sender != "3"] == [m for m in sent if m.sender != "3"]


def test_a_membership_is_said_when_it_is_proposed_and_when_it_comes_into_force() -> None:
    lab = traced()
    proposed = [e for e in lab["1"].trace if e.name == "ChangeConf"]
    applied = [e for e in lab["1"].trace if e.name == "ApplyConfChange"]
    assert [dict(e.properties)["index"] for e in proposed] == [3, 4]
    assert [e.conf for e in proposed] == [
        (("1", "2", "3"), ()),
        (("1", "2"), ("1", "2", "3")),
    ]
    assert [e.conf for e in applied] == [(("1", "2"), ("1", "2", "3")), (("1", "2"), ())]


def test_term_commit_and_log_never_go_back_in_this_story() -> None:
    for member in traced().members.values():
        for before, after in pairwise(member.trace):
            assert (before.term, before.commit, before.log) <= (after.term, after.commit, after.log)


def test_an_event_is_one_line_of_json() -> None:
    message = AppendEntriesReply("2", "1", 4, False, 9, 7, 3)
    event = TraceEvent(
        "SendAppendEntriesResponse",
        "2",
        4,
        None,
        5,
        "StateFollower",
        8,
        (("1", "2"), ("2", "3")),
        message,
        (("index", 3),),
    )
    line = line_of(event)
    assert "\n" not in line
    assert json.loads(line) == {
        "name": "SendAppendEntriesResponse",
        "nid": "2",
        "state": {"term": 4, "vote": "0", "commit": 5},
        "role": "StateFollower",
        "log": 8,
        "conf": [["1", "2"], ["2", "3"]],
        "msg": {
            "type": "MsgAppResp",
            "term": 4,
            "from": "2",
            "to": "1",
            "entries": 0,
            "logTerm": 3,
            "index": 9,
            "commit": 0,
            "reject": True,
            "rejectHint": 7,
        },
        "prop": {"index": 3},
    }


def test_every_kind_of_message_has_its_name_and_type() -> None:
    entry = Entry(3, 2, EntryKind.COMMAND, b"x")
    meta = SnapshotMeta(7, 2, Membership(("1",)), 0)
    cases: list[tuple[Message, str, dict[str, object]]] = [
        (PreVote("1", "2", 3, 9, 2), "MsgPreVote", {"index": 9, "logTerm": 2}),
        (PreVoteReply("1", "2", 3, False), "MsgPreVoteResp", {"reject": True}),
        (RequestVote("1", "2", 3, 9, 2), "MsgVote", {"index": 9, "logTerm": 2}),
        (RequestVoteReply("1", "2", 3, True), "MsgVoteResp", {"reject": False}),
        (
            AppendEntries("1", "2", 3, 2, 1, 1, (entry,)),
            "MsgApp",
            {"entries": 1, "index": 2, "logTerm": 1, "commit": 1},
        ),
        (AppendEntriesReply("1", "2", 3, True, 4), "MsgAppResp", {"index": 4, "reject": False}),
        (Heartbeat("1", "2", 3, 5), "MsgHeartbeat", {"commit": 5}),
        (HeartbeatReply("1", "2", 3), "MsgHeartbeatResp", {}),
        (TimeoutNow("1", "2", 3), "MsgTimeoutNow", {}),
        (InstallSnapshot("1", "2", 3, meta), "MsgSnap", {"index": 7, "logTerm": 2}),
    ]
    assert {type(message) for message, _, _ in cases} == set(SENT) == set(RECEIVED)
    for message, kind, expected in cases:
        name = SENT[type(message)]
        event = TraceEvent(name, "1", 3, "1", 0, "StateLeader", 0, ((), ()), message)
        said = json.loads(line_of(event))["msg"]
        assert said["type"] == kind
        assert {key: said[key] for key in expected} == expected
