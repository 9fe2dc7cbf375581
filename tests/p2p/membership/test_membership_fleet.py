"""Many cores of membership in one virtual world: crashes, pauses, partitions, slow links."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest

from keys import PeerId
from p2p.membership import (
    Admitted,
    Changed,
    Heartbeat,
    HeartbeatReceived,
    Membership,
    MembershipEvent,
    MembershipSettings,
    MemberState,
    Reintroduce,
    SendHeartbeat,
    Tick,
)

ALIVE, DEAD = MemberState.ALIVE, MemberState.DEAD
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Node:
    def __init__(self, peer_id: PeerId, incarnation: int, rng: random.Random) -> None:
        self.peer_id = peer_id
        self.incarnation = incarnation
        self.core = Membership(peer_id, MembershipSettings(), rng)
        self.paused_until_ms = 0
        self.is_up = True


class Fleet:
    """Nodes, a delay for each message, and a set of one-way cuts. Links never reorder: TCP."""

    def __init__(self, size: int, seed: int, *, delay_ms: tuple[int, int] = (0, 20)) -> None:
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.delay_ms = delay_ms
        self.now_ms = 0
        self.order = count()
        self.mail: list[tuple[int, int, PeerId, MembershipEvent]] = []
        self.arrives_ms: dict[tuple[PeerId, PeerId], int] = {}
        self.cuts: set[tuple[PeerId, PeerId]] = set()
        self.changes: list[tuple[int, PeerId, Changed]] = []
        self.nodes: dict[PeerId, Node] = {}
        self.incarnations = count(1)
        for letter in LETTERS[:size]:
            self.start(PeerId(letter * 52))

    def start(self, peer_id: PeerId) -> Node:
        node = Node(peer_id, next(self.incarnations), random.Random(self.rng.random()))
        self.nodes[peer_id] = node
        for other in self.others(peer_id):
            if other.is_up and (peer_id, other.peer_id) not in self.cuts:
                self.introduce(node, other)
        return node

    def introduce(self, one: Node, other: Node) -> None:
        self.step(one, Admitted(other.peer_id, other.incarnation))
        self.step(other, Admitted(one.peer_id, one.incarnation))

    def others(self, peer_id: PeerId) -> list[Node]:
        return [node for node in self.nodes.values() if node.peer_id != peer_id]

    def step(self, node: Node, event: MembershipEvent) -> None:
        for effect in node.core.step(event, now_ms=self.now_ms):
            match effect:
                case SendHeartbeat(to, sequence):
                    for peer in to:
                        self.post(node, peer, Heartbeat(node.incarnation, sequence))
                case Changed():
                    self.changes.append((self.now_ms, node.peer_id, effect))
                case Reintroduce(peer):
                    other = self.nodes[peer]
                    pair = {(peer, node.peer_id), (node.peer_id, peer)}
                    if other.is_up and self.is_awake(other) and not pair & self.cuts:
                        self.introduce(node, other)
        node.core.check_invariants()

    def post(self, sender: Node, to: PeerId, heartbeat: Heartbeat) -> None:
        link = (sender.peer_id, to)
        if link in self.cuts:
            return
        soonest_ms = self.now_ms + self.rng.randint(*self.delay_ms)
        self.arrives_ms[link] = at_ms = max(soonest_ms, self.arrives_ms.get(link, 0))
        event = HeartbeatReceived(sender.peer_id, heartbeat)
        heapq.heappush(self.mail, (at_ms, next(self.order), to, event))

    def is_awake(self, node: Node) -> bool:
        return self.now_ms >= node.paused_until_ms

    def wake_ms(self, node: Node) -> int | None:
        due_ms = node.core.deadline_ms
        if not node.is_up or due_ms is None:
            return None
        return max(due_ms, node.paused_until_ms, self.now_ms)

    def pass_ms(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        while True:
            wakes = [(self.wake_ms(node), node.peer_id) for node in self.nodes.values()]
            ticks = [(at_ms, peer) for at_ms, peer in wakes if at_ms is not None]
            mail_ms = self.mail[0][0] if self.mail else end_ms + 1
            tick_ms, ticker = min(ticks, default=(end_ms + 1, PeerId("")))
            if min(mail_ms, tick_ms) > end_ms:
                break
            if mail_ms <= tick_ms:
                at_ms, _, to, event = heapq.heappop(self.mail)
                node = self.nodes[to]
                if not node.is_up:
                    continue
                if at_ms < node.paused_until_ms:  # it waits in the socket's buffer
                    late = (node.paused_until_ms, next(self.order), to, event)
                    heapq.heappush(self.mail, late)
                    continue
                self.now_ms = max(self.now_ms, at_ms)
                self.step(node, event)
            else:
                self.now_ms = tick_ms
                self.step(self.nodes[ticker], Tick())
        self.now_ms = end_ms

    def crash(self, peer_id: PeerId) -> None:
        self.nodes[peer_id].is_up = False

    def cut(self, left: set[PeerId], right: set[PeerId], *, one_way: bool = False) -> None:
        self.cuts |= {(a, b) for a in left for b in right}
        if not one_way:
            self.cuts |= {(b, a) for a in left for b in right}

    def states(self) -> set[MemberState | None]:
        """All views that nodes which are up have of nodes which are up."""
        up = [node for node in self.nodes.values() if node.is_up]
        return {
            node.core.state_of(other.peer_id) for node in up for other in up if other is not node
        }

    def deaths(self) -> list[tuple[int, PeerId, Changed]]:
        return [entry for entry in self.changes if entry[2].after is DEAD]


def _id(letter: str) -> PeerId:
    return PeerId(letter * 52)


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_is_seen_by_all_ten_within_three_seconds(seed: int) -> None:
    fleet = Fleet(10, seed)
    fleet.pass_ms(5_000 + fleet.rng.randint(0, 499))
    died_ms = fleet.now_ms
    fleet.crash(_id("c"))
    fleet.pass_ms(3_000)
    deaths = fleet.deaths()
    assert {(observer, change.peer_id) for _, observer, change in deaths} == {
        (node.peer_id, _id("c")) for node in fleet.others(_id("c"))
    }
    assert max(at_ms for at_ms, _, _ in deaths) - died_ms <= 2_600


@pytest.mark.parametrize("seed", range(2))
def test_nobody_is_falsely_dead_in_five_minutes_on_slow_links(seed: int) -> None:
    fleet = Fleet(8, seed, delay_ms=(0, 900))
    fleet.pass_ms(300_000)
    assert fleet.deaths() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_paused_node_kills_nobody_and_the_others_take_it_back(seed: int) -> None:
    fleet = Fleet(6, seed)
    fleet.pass_ms(5_000)
    sleeper = fleet.nodes[_id("b")]
    sleeper.paused_until_ms = fleet.now_ms + 30_000
    fleet.pass_ms(29_999)
    assert {change.peer_id for _, _, change in fleet.deaths()} == {_id("b")}
    fleet.pass_ms(4_000)
    assert fleet.states() == {ALIVE}
    assert not [entry for entry in fleet.deaths() if entry[1] == _id("b")]


@pytest.mark.parametrize("seed", range(3))
def test_both_sides_of_a_partition_see_it_and_heal_within_three_seconds(seed: int) -> None:
    fleet = Fleet(7, seed)
    fleet.pass_ms(5_000)
    left = {_id(letter) for letter in "abc"}
    right = {_id(letter) for letter in "defg"}
    fleet.cut(left, right)
    fleet.pass_ms(3_000)
    seen = {(observer, change.peer_id) for _, observer, change in fleet.deaths()}
    assert seen == {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}
    fleet.pass_ms(60_000)
    fleet.cuts.clear()
    fleet.pass_ms(3_000)
    assert fleet.states() == {ALIVE}


@pytest.mark.parametrize("seed", range(3))
def test_a_link_that_is_cut_one_way_comes_back_too(seed: int) -> None:
    fleet = Fleet(5, seed)
    fleet.pass_ms(3_000)
    fleet.cut({_id("a")}, {_id("b")}, one_way=True)
    fleet.pass_ms(20_000)
    assert fleet.nodes[_id("b")].core.state_of(_id("a")) is DEAD
    fleet.cuts.clear()
    fleet.pass_ms(3_000)
    assert fleet.states() == {ALIVE}


@pytest.mark.parametrize("seed", range(3))
def test_a_quick_restart_ends_the_old_incarnation_everywhere_exactly_once(seed: int) -> None:
    fleet = Fleet(6, seed)
    fleet.pass_ms(5_000)
    old = fleet.nodes[_id("d")].incarnation
    fleet.crash(_id("d"))
    fleet.pass_ms(fleet.rng.randint(0, 4_000))
    fleet.start(_id("d"))
    fleet.pass_ms(5_000)
    assert fleet.states() == {ALIVE}
    ended = [
        (observer, change.incarnation)
        for _, observer, change in fleet.deaths()
        if change.peer_id == _id("d")
    ]
    assert sorted(ended) == [(node.peer_id, old) for node in fleet.others(_id("d"))]


@pytest.mark.parametrize("seed", range(8))
def test_after_any_chaos_the_living_agree_that_all_live(seed: int) -> None:
    fleet = Fleet(6, seed, delay_ms=(0, 200))
    ids = list(fleet.nodes)
    for _ in range(40):
        fleet.pass_ms(fleet.rng.randint(0, 3_000))
        victim = fleet.rng.choice(ids)
        match fleet.rng.randint(0, 4):
            case 0:
                fleet.crash(victim)
            case 1 if not fleet.nodes[victim].is_up:
                fleet.start(victim)
            case 2:
                group = set(fleet.rng.sample(ids, fleet.rng.randint(1, 3)))
                one_way = fleet.rng.random() < 0.5
                fleet.cut(group, set(ids) - group, one_way=one_way)
            case 3:
                fleet.cuts.clear()
            case 4:
                duration_ms = fleet.rng.randint(0, 6_000)
                fleet.nodes[victim].paused_until_ms = fleet.now_ms + duration_ms
    fleet.cuts.clear()
    fleet.pass_ms(6_000)
    for peer_id in ids:
        if not fleet.nodes[peer_id].is_up:
            fleet.start(peer_id)
    # Those that were started behind a cut were never introduced: their doors are knocked at.
    for node in fleet.nodes.values():
        for other in fleet.others(node.peer_id):
            if node.core.state_of(other.peer_id) is None:
                fleet.introduce(node, other)
    fleet.pass_ms(4_000)
    assert fleet.states() == {ALIVE}
