"""The core of membership, one rule a test, on virtual time."""

from __future__ import annotations

import random

import pytest

from keys import PeerId
from p2p.membership import (
    Admitted,
    Changed,
    Drop,
    DropReason,
    Expelled,
    Heartbeat,
    HeartbeatReceived,
    LeaveReceived,
    LinkLost,
    Membership,
    MembershipEffect,
    MembershipEvent,
    MembershipSettings,
    MemberState,
    Reason,
    Reintroduce,
    ReintroductionFailed,
    SendHeartbeat,
    Tick,
)

OWN, ANN, BOB = (PeerId(letter * 52) for letter in "oab")
ALIVE, SUSPECT, DEAD, LEFT = MemberState


class Bench:
    """One core, a clock that we move, and everything it did."""

    def __init__(self, **settings: int) -> None:
        self.core = Membership(OWN, MembershipSettings(**settings), random.Random(1))
        self.now_ms = 1_000
        self.effects: list[MembershipEffect] = []
        self.sequence = 0

    def do(self, event: MembershipEvent) -> list[MembershipEffect]:
        effects = self.core.step(event, now_ms=self.now_ms)
        self.core.check_invariants()
        self.effects += effects
        return effects

    def pass_ms(self, duration_ms: int) -> None:
        """Let time pass as it does for a healthy loop: every deadline is met on the dot."""
        end_ms = self.now_ms + duration_ms
        while (due_ms := self.core.deadline_ms) is not None and due_ms <= end_ms:
            assert due_ms > self.now_ms or due_ms == self.now_ms, "time never goes back"
            self.now_ms = due_ms
            self.do(Tick())
            assert self.core.deadline_ms is None or self.core.deadline_ms > self.now_ms
        self.now_ms = end_ms

    def beat(
        self, peer: PeerId, incarnation: int = 1, **fields: int | bytes
    ) -> list[MembershipEffect]:
        self.sequence += 1
        heartbeat = Heartbeat(incarnation, self.sequence, **fields)  # type: ignore[arg-type]
        return self.do(HeartbeatReceived(peer, heartbeat))

    def changes(self) -> list[tuple[str, int, MemberState | None, MemberState, Reason]]:
        seen = [effect for effect in self.effects if isinstance(effect, Changed)]
        self.effects.clear()
        return [(c.peer_id[0], c.incarnation, c.before, c.after, c.reason) for c in seen]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.do(Admitted(ANN, 1))
    return bench


def test_an_admitted_peer_is_alive_and_gets_our_heartbeat_at_once() -> None:
    bench = Bench()
    effects = bench.do(Admitted(ANN, 1))
    assert Changed(ANN, 1, None, ALIVE, Reason.ADMITTED) in effects
    assert SendHeartbeat((ANN,), 1) in effects


def test_a_node_that_knows_nobody_sleeps() -> None:
    bench = Bench()
    assert bench.core.deadline_ms is None
    bench.do(Tick())
    assert bench.core.deadline_ms is None


def test_we_are_not_a_member_of_our_own_table(bench: Bench) -> None:
    assert bench.do(Admitted(OWN, 9)) == []
    assert bench.core.state_of(OWN) is None


def test_a_silent_peer_is_suspected_after_1500_ms_and_dead_after_2500_ms(bench: Bench) -> None:
    bench.pass_ms(1_499)
    assert bench.core.state_of(ANN) is ALIVE
    bench.pass_ms(1)
    assert bench.core.state_of(ANN) is SUSPECT
    bench.pass_ms(999)
    assert bench.core.state_of(ANN) is SUSPECT
    bench.pass_ms(1)
    assert bench.core.state_of(ANN) is DEAD
    assert [change[2:] for change in bench.changes()] == [
        (None, ALIVE, Reason.ADMITTED),
        (ALIVE, SUSPECT, Reason.SILENT),
        (SUSPECT, DEAD, Reason.SILENT),
    ]


def test_a_suspected_peer_is_knocked_at(bench: Bench) -> None:
    bench.pass_ms(1_500)
    assert Reintroduce(ANN) in bench.effects


def test_a_peer_that_keeps_beating_stays_alive(bench: Bench) -> None:
    for _ in range(100):
        bench.pass_ms(1_400)
        bench.beat(ANN)
    assert [change[3] for change in bench.changes()] == [ALIVE]


def test_heartbeats_go_out_at_their_pace_to_all_present_peers(bench: Bench) -> None:
    bench.do(Admitted(BOB, 1))
    bench.effects.clear()
    for _ in range(20):
        bench.pass_ms(500)
        bench.beat(ANN)
        bench.beat(BOB)
    sent = [effect for effect in bench.effects if isinstance(effect, SendHeartbeat)]
    assert 20 <= len(sent) <= 23
    assert all(set(effect.to) == {ANN, BOB} for effect in sent)
    assert [e.sequence for e in sent] == sorted({e.sequence for e in sent})


def test_a_suspected_peer_that_is_heard_is_alive_again(bench: Bench) -> None:
    bench.pass_ms(2_000)
    assert Changed(ANN, 1, SUSPECT, ALIVE, Reason.HEARD) in bench.beat(ANN)


def test_a_dead_peer_is_still_spoken_to_so_that_a_healed_partition_shows(bench: Bench) -> None:
    bench.pass_ms(2_500)
    bench.effects.clear()
    bench.pass_ms(10_000)
    sent = [effect for effect in bench.effects if isinstance(effect, SendHeartbeat)]
    assert 4 <= len(sent) <= 6
    assert Changed(ANN, 1, DEAD, ALIVE, Reason.HEARD) in bench.beat(ANN)


def test_a_restart_ends_the_old_incarnation_before_the_new_one_is_alive(bench: Bench) -> None:
    bench.changes()
    bench.do(Admitted(ANN, 2))
    assert bench.changes() == [
        ("a", 1, ALIVE, DEAD, Reason.RESTARTED),
        ("a", 2, DEAD, ALIVE, Reason.ADMITTED),
    ]


def test_a_restart_shows_in_a_heartbeat_too(bench: Bench) -> None:
    bench.beat(ANN, 1)
    bench.changes()
    bench.sequence = 0  # the new process counts from the beginning
    bench.beat(ANN, 2)
    assert bench.changes() == [
        ("a", 1, ALIVE, DEAD, Reason.RESTARTED),
        ("a", 2, DEAD, ALIVE, Reason.HEARD),
    ]


def test_a_restart_of_a_dead_peer_kills_it_only_once(bench: Bench) -> None:
    bench.pass_ms(3_000)
    bench.changes()
    bench.do(Admitted(ANN, 5))
    assert bench.changes() == [("a", 5, DEAD, ALIVE, Reason.ADMITTED)]


def test_an_earlier_incarnation_does_not_count(bench: Bench) -> None:
    bench.do(Admitted(ANN, 7))
    stale = Drop(ANN, DropReason.STALE_INCARNATION)
    assert bench.do(Admitted(ANN, 6)) == [stale]
    assert bench.beat(ANN, 6) == [stale]
    assert bench.do(LeaveReceived(ANN, 6)) == [stale]
    assert bench.core.state_of(ANN) is ALIVE


def test_a_replayed_heartbeat_does_not_keep_a_peer_alive(bench: Bench) -> None:
    old = Heartbeat(1, 5)
    bench.do(HeartbeatReceived(ANN, old))
    bench.pass_ms(1_400)
    assert bench.do(HeartbeatReceived(ANN, old)) == [Drop(ANN, DropReason.REPLAYED)]
    bench.pass_ms(1_100)
    assert bench.core.state_of(ANN) is DEAD


def test_only_admitted_peers_count(bench: Bench) -> None:
    assert bench.beat(BOB) == [Drop(BOB, DropReason.NOT_ADMITTED)]
    assert bench.do(LeaveReceived(BOB, 1)) == [Drop(BOB, DropReason.NOT_ADMITTED)]
    assert bench.core.state_of(BOB) is None


def test_a_frame_that_is_no_heartbeat_is_counted_and_is_no_sign_of_life(bench: Bench) -> None:
    bench.pass_ms(1_400)
    assert bench.do(HeartbeatReceived(ANN, None)) == [Drop(ANN, DropReason.MALFORMED)]
    bench.pass_ms(100)
    assert bench.core.state_of(ANN) is SUSPECT
    assert bench.core.counters()["dropped: malformed"] == 1


def test_a_goodbye_is_immediate_and_late_heartbeats_do_not_undo_it(bench: Bench) -> None:
    bench.changes()
    bench.do(LeaveReceived(ANN, 1))
    assert bench.changes() == [("a", 1, ALIVE, LEFT, Reason.GOODBYE)]
    assert bench.beat(ANN, 1) == [Drop(ANN, DropReason.AFTER_GOODBYE)]
    bench.effects.clear()
    bench.pass_ms(10_000)
    assert not [e for e in bench.effects if isinstance(e, SendHeartbeat)], "it wants no more mail"


def test_a_goodbye_of_the_dead_corrects_the_record(bench: Bench) -> None:
    bench.pass_ms(3_000)
    assert Changed(ANN, 1, DEAD, LEFT, Reason.GOODBYE) in bench.do(LeaveReceived(ANN, 1))
    assert bench.do(LeaveReceived(ANN, 1)) == [], "said twice is said once"


def test_a_goodbye_of_a_later_start_ends_the_earlier_one_too(bench: Bench) -> None:
    bench.beat(ANN, 1)
    bench.changes()
    bench.do(LeaveReceived(ANN, 3))
    assert bench.changes() == [
        ("a", 1, ALIVE, DEAD, Reason.RESTARTED),
        ("a", 3, DEAD, LEFT, Reason.GOODBYE),
    ]


def test_who_left_comes_back_by_introduction(bench: Bench) -> None:
    bench.do(LeaveReceived(ANN, 1))
    bench.changes()
    bench.do(Admitted(ANN, 2))
    assert bench.changes() == [("a", 2, DEAD, ALIVE, Reason.ADMITTED)]


def test_an_expelled_peer_is_dead_at_once_and_unknown_after(bench: Bench) -> None:
    assert bench.do(Expelled(ANN)) == [Changed(ANN, 1, ALIVE, DEAD, Reason.EXPELLED)]
    assert bench.core.state_of(ANN) is None
    assert bench.beat(ANN) == [Drop(ANN, DropReason.NOT_ADMITTED)]
    assert bench.do(Expelled(ANN)) == []
    assert bench.core.deadline_ms is None


def test_a_broken_link_alone_kills_nobody(bench: Bench) -> None:
    assert bench.do(LinkLost(ANN)) == [Reintroduce(ANN)]
    bench.pass_ms(2_499)
    assert bench.core.state_of(ANN) is SUSPECT, "no sooner than without it"
    bench.beat(ANN)
    bench.pass_ms(1_400)
    assert bench.core.state_of(ANN) is ALIVE


def test_a_broken_link_and_a_closed_door_kill_within_a_second(bench: Bench) -> None:
    bench.beat(ANN)
    bench.pass_ms(200)
    bench.do(LinkLost(ANN))
    effects = bench.do(ReintroductionFailed(ANN))
    assert Changed(ANN, 1, ALIVE, SUSPECT, Reason.UNREACHABLE) in effects
    bench.pass_ms(799)
    assert bench.core.state_of(ANN) is SUSPECT
    bench.pass_ms(1)
    assert bench.changes()[-1] == ("a", 1, SUSPECT, DEAD, Reason.UNREACHABLE)


def test_a_closed_door_with_a_whole_link_kills_nobody(bench: Bench) -> None:
    bench.do(ReintroductionFailed(ANN))
    for _ in range(5):
        bench.pass_ms(1_400)
        bench.beat(ANN)
    bench.do(ReintroductionFailed(ANN))
    bench.pass_ms(2_499)
    assert bench.core.state_of(ANN) is SUSPECT


def test_a_word_after_link_and_door_failed_clears_both(bench: Bench) -> None:
    bench.do(LinkLost(ANN))
    bench.do(ReintroductionFailed(ANN))
    bench.pass_ms(500)
    bench.beat(ANN)
    bench.pass_ms(1_400)
    assert bench.core.state_of(ANN) is ALIVE


def test_link_and_door_of_the_dead_change_nothing(bench: Bench) -> None:
    bench.pass_ms(3_000)
    assert bench.do(LinkLost(ANN)) == []
    assert bench.do(ReintroductionFailed(ANN)) == []
    assert bench.core.state_of(ANN) is DEAD


def test_a_node_that_was_stalled_blames_itself_first(bench: Bench) -> None:
    bench.pass_ms(1_000)
    bench.now_ms += 60_000  # a laptop sleeps; nothing ran, nothing was read
    bench.do(Tick())
    assert bench.core.state_of(ANN) is ALIVE
    assert bench.core.health == 1
    bench.pass_ms(1_000)
    assert bench.core.state_of(ANN) is not DEAD, "patience is longer for a while"
    bench.pass_ms(5_000)
    assert bench.core.state_of(ANN) is DEAD, "but not for ever"


def test_a_stall_shows_in_whatever_event_comes_first_after_it(bench: Bench) -> None:
    bench.do(Admitted(BOB, 1))
    bench.now_ms += 30_000
    bench.beat(BOB)
    assert bench.core.state_of(ANN) is ALIVE
    assert bench.core.counters()["own stalls"] == 1


def test_a_small_delay_is_not_a_stall(bench: Bench) -> None:
    due_ms = bench.core.deadline_ms
    assert due_ms is not None
    bench.now_ms = due_ms + 500
    bench.do(Tick())
    assert bench.core.health == 0


def test_health_recovers_and_patience_with_it(bench: Bench) -> None:
    for _ in range(10):
        bench.now_ms += 5_000
        bench.do(Tick())
    assert bench.core.health == 4
    for _ in range(100):
        bench.pass_ms(500)
        bench.beat(ANN)
    assert bench.core.health == 0
    bench.pass_ms(2_500)
    assert bench.core.state_of(ANN) is DEAD


def test_shorter_patience_is_noticed_without_a_new_heartbeat() -> None:
    bench = Bench(health_recovery_ms=1_000)
    bench.do(Admitted(ANN, 1))
    for _ in range(4):
        bench.now_ms += 3_000
        bench.beat(ANN)
    heard_ms = bench.now_ms
    while bench.core.state_of(ANN) is ALIVE:
        bench.pass_ms(50)
    assert bench.now_ms - heard_ms <= 3_300, "health fell from 4 to 1 within three seconds"


def test_isolation_is_told_apart_from_one_silent_peer(bench: Bench) -> None:
    bench.do(Admitted(BOB, 1))
    bench.pass_ms(1_400)
    bench.beat(BOB)
    bench.pass_ms(1_400)
    assert not bench.core.is_isolated(bench.now_ms)
    bench.pass_ms(1_400)
    assert bench.core.is_isolated(bench.now_ms)


def test_a_node_that_everybody_left_in_good_order_is_not_isolated(bench: Bench) -> None:
    bench.do(LeaveReceived(ANN, 1))
    bench.pass_ms(60_000)
    assert not bench.core.is_isolated(bench.now_ms)


def test_the_clock_offset_is_the_middle_of_what_the_others_say(bench: Bench) -> None:
    assert bench.core.clock_offset_ms is None
    people = [PeerId(letter * 52) for letter in "cde"]
    for peer, ahead_ms in zip(people, (-50, 40, 9_000_000), strict=True):
        bench.do(Admitted(peer, 1))
        beat = Heartbeat(1, 1, wall_ms=10_000_000 + ahead_ms)
        bench.do(HeartbeatReceived(peer, beat, wall_ms=10_000_000))
    assert bench.core.clock_offset_ms == 40


def test_the_view_says_what_people_ask_for(bench: Bench) -> None:
    bench.beat(ANN, load=17)
    bench.pass_ms(300)
    (member,) = bench.core.members(bench.now_ms)
    assert (member.state, member.incarnation, member.silent_ms) == (ALIVE, 1, 300)
    assert member.heartbeat is not None
    assert member.heartbeat.load == 17


def test_the_dead_are_forgotten_after_a_day_and_then_the_node_sleeps() -> None:
    bench = Bench(forget_after_ms=20_000)
    bench.do(Admitted(ANN, 1))
    bench.pass_ms(30_000)
    assert bench.core.state_of(ANN) is None
    assert bench.core.deadline_ms is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_ms": 0},
        {"suspect_after_ms": 400},
        {"dead_after_ms": 1_500},
        {"unreachable_after_ms": 3_000},
        {"lag_threshold_ms": 0},
        {"dead_heartbeat_ms": 100},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        MembershipSettings(**wrong)
