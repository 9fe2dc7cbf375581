"""Proposals and their fates, and handing over leadership."""

import pytest
from raft_cluster import Cluster

from consensus.errors import ConfigInvalid
from consensus.raft import (
    Accepted,
    AppendEntries,
    Config,
    DropReason,
    Propose,
    RefusalReason,
    Refused,
    RequestVote,
    TimeoutNow,
    Transfer,
    TransferEnded,
)


def test_a_follower_refuses_and_names_the_leader() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("b", b"x", b"y", first_request=7)
    assert cluster["b"].results == [Refused(7, 2, RefusalReason.NOT_LEADER, "a")]


def test_accepted_commands_learn_their_place() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", b"x", b"y", first_request=7)
    assert cluster["a"].results == [Accepted(7, 2, 2, 1)]


def test_a_command_that_is_too_large_does_not_hold_up_its_neighbours() -> None:
    cluster = Cluster(max_entry_bytes=4)
    cluster.elect("a")
    cluster.propose("a", b"one", b"too large", b"two")
    assert cluster["a"].results == [
        Accepted(1, 1, 2, 1),
        Refused(2, 1, RefusalReason.TOO_LARGE, "a"),
        Accepted(3, 1, 3, 1),
    ]
    assert cluster.applied("a") == [b"one", b"two"]


def test_uncommitted_bytes_are_bounded_and_become_free_again() -> None:
    cluster = Cluster(max_uncommitted_bytes=10)
    cluster.elect("a")
    cluster.isolate("a")
    cluster.propose("a", b"x" * 8, b"y" * 8)
    assert cluster["a"].results == [
        Accepted(1, 1, 2, 1),
        Refused(2, 1, RefusalReason.FULL, "a"),
    ]
    cluster.cut.clear()
    cluster.pass_time(400)
    cluster.propose("a", b"y" * 8, first_request=3)
    assert cluster["a"].results[-1] == Accepted(3, 1, 3, 1)


def test_one_command_larger_than_the_bound_passes_when_nothing_waits() -> None:
    cluster = Cluster(max_uncommitted_bytes=10)
    cluster.elect("a")
    cluster.propose("a", b"x" * 50)
    assert cluster.applied("a") == [b"x" * 50]


def test_leadership_moves_to_the_named_voter_at_once() -> None:
    cluster = Cluster()
    cluster.elect("a")
    now_ms = cluster.now_ms
    cluster.step("a", Transfer("c"))
    cluster.settle()
    assert cluster.leaders() == ["c"]
    assert cluster.now_ms == now_ms, "no timer was waited for"
    assert cluster["a"].results == [TransferEnded("c", True)]
    assert all(m.transfer for m in cluster.said(RequestVote, "c"))


def test_a_lagging_target_catches_up_first_and_proposals_wait() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.pass_time(50)
    cluster.isolate("c")
    cluster.propose("a", b"x")
    cluster.step("a", Transfer("c"))
    cluster.settle()
    cluster.propose("a", b"y", first_request=2)
    assert cluster["a"].results[-1] == Refused(2, 1, RefusalReason.TRANSFERRING, "a")
    assert not cluster.said(TimeoutNow)
    cluster.cut.clear()
    cluster.pass_time(400)
    assert cluster.leaders() == ["c"]
    assert cluster.applied("c") == [b"x"]


def test_without_a_name_the_furthest_follower_is_chosen() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.isolate("b")
    cluster.propose("a", b"x")
    cluster.step("a", Transfer())
    cluster.settle()
    assert cluster.leaders() == ["c"]


def test_a_transfer_that_takes_too_long_is_given_up() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.isolate("c")
    cluster.propose("a", b"x")
    cluster.step("a", Transfer("c"))
    cluster.pass_time(900)
    assert cluster["a"].results[-1] == TransferEnded("c", False)
    cluster.propose("a", b"y", first_request=2)
    assert cluster.applied("a") == [b"x", b"y"]


def test_a_transfer_to_nobody_or_by_a_follower_ends_at_once() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.step("b", Transfer("c"))
    cluster.step("a", Transfer("mallory"))
    cluster.step("a", Transfer("a"))
    assert cluster["b"].results == [TransferEnded("c", False)]
    assert cluster["a"].results == [TransferEnded("mallory", False), TransferEnded("a", False)]
    alone = Cluster(1)
    alone.pass_time(50)
    alone.step("a", Transfer())
    assert alone["a"].results == [TransferEnded(None, False)]


def test_a_voter_with_less_than_the_leaders_log_is_never_told_to_campaign() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.dropped = lambda m: isinstance(m, AppendEntries) and m.to == "b"
    cluster.propose("a", b"x")
    cluster.step("a", Transfer("b"))
    cluster.pass_time(300)
    assert not cluster.said(TimeoutNow)


def test_only_the_own_leader_can_ask_for_a_campaign() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.deliver(TimeoutNow("c", "b", 1))
    assert cluster["b"].core.dropped[DropReason.UNEXPECTED] == 1
    assert cluster["b"].core.status().term == 1


def test_a_leader_that_loses_its_lead_keeps_what_may_yet_be_decided() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.isolate("a")
    cluster.propose("a", b"lost")
    cluster.elect("b")
    cluster.propose("b", b"kept")
    cluster.cut.clear()
    cluster.pass_time(1000)
    assert [cluster.applied(name) for name in "abc"] == [[b"kept"]] * 3
    assert cluster["a"].results == [Accepted(1, 1, 2, 1)], "its outcome is read from the log (R31)"


def test_a_priority_delays_the_own_campaign() -> None:
    cluster = Cluster(priority_ms=5000)
    cluster.pass_time(4000)
    assert not cluster.leaders()
    cluster.pass_time(4000)
    assert cluster.leaders()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cluster_id": ""}, "cluster_id"),
        ({"voters": ("a", "a")}, "voters"),
        ({"voters": ("b", "c")}, "voters"),
        ({"heartbeat_ms": 500}, "heartbeat_ms"),
        ({"priority_ms": -1}, "priority_ms"),
        ({"max_inflight": 0}, "max_inflight"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(
    changes: dict[str, object], field: str
) -> None:
    fields: dict[str, object] = {"node_id": "a", "cluster_id": "test", "voters": ("a", "b", "c")}
    with pytest.raises(ConfigInvalid) as caught:
        Config(**(fields | changes))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_page_of_tiny_commands_stays_below_the_message_limit() -> None:
    cluster = Cluster(max_append_bytes=1000)
    cluster.elect("a")
    before = len(cluster.said(AppendEntries))
    cluster.step("a", Propose(1, [b""] * 500))
    sizes = [len(m.entries) for m in cluster.said(AppendEntries)[before:]]
    assert max(sizes) <= 1000 // 21
