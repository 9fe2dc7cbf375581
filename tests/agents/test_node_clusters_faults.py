"""Clusters under faults, and under members that mean harm: whole nodes in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from clusters_lab import LOOK, eyes, plain
from keeping_lab import cut_off, in_lab, leader_of
from node_lab import NodeLab, until
from test_node_rights import denying, refused

from agents import ClusterSeat, InvalidArguments, LockLost, TooFewMembers
from agents.clusters import Cluster
from agents.clusters.core import Change
from agents.clusters.model import LEADER, LEASE, MAX_LEASES_OF_PEER, ROSTER
from agents.clusters.seats import LEASE_S
from agents.errors import KeyInvalid
from agents.keeping.wire import WRITE, read_reply
from agents.node import Node
from agents.tasking import wire
from agents.unheard import Unheard
from consensus.kv import Refusal, encode_delete, encode_put
from keys import Role, Roster
from p2p import PermissionDenied, encode_payload


def seat_of(node: Node) -> ClusterSeat | None:
    return node.clusters.seats(LOOK).get("eyes")


def leading(nodes: Iterable[Node]) -> list[tuple[str, int]]:
    """Who believes that it leads, with its token."""
    seats = [(node.peer.name, seat_of(node)) for node in nodes]
    return [(name, seat.fence) for name, seat in seats if seat is not None and seat.fence]


class Terms:
    """Watches that leaders do not overlap and that their tokens grow."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self.seen: list[tuple[str, int]] = []

    async def watch(self) -> None:
        while True:
            now = leading(self._nodes.values())
            assert len(now) <= 1, f"two lead at once: {now}"
            for term in now:
                if not self.seen or self.seen[-1] != term:
                    assert not self.seen or term[1] > self.seen[-1][1], (self.seen, term)
                    self.seen.append(term)
            await asyncio.sleep(0.01)


def test_a_user_that_is_cut_off_is_unsure_and_sure_again_when_it_is_back(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abcde")
        said: list[str] = []
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3, lease=5) as cluster:

            async def listen() -> None:
                async for change in cluster.watch():
                    said.append(str(change))

            listening = asyncio.ensure_future(listen())
            await cluster.until_led()
            version = cluster.version
            cut_off(lab, nodes["u"])
            await until(lambda: not cluster.is_sure and not cluster.state.is_sure)
            assert any("unsure" in text for text in said)
            await until(lambda: not nodes["a"].clusters.book.all(), 60)  # nobody uses it any more
            assert cluster.members, "what was known last"
            lab.network.heal()
            await until(lambda: cluster.is_sure and cluster.version > version, 60)
            await until(
                lambda: said[-1].startswith("sure") or ", sure" in said[-1] or "sure" in said
            )
            assert len(cluster.members) == 3
            named, met = {each.peer for each in cluster.members}, nodes["u"].peer.presence
            await until(lambda: named <= set(met.present()))  # links heal one after another
            assert (await cluster.call())[0] in plain(cluster)
            listening.cancel()

    in_lab(tmp_path, scenario)


def test_a_leader_that_is_cut_off_stops_before_another_one_begins(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        made, nodes = await eyes(lab, "abcdef", voters=3)
        terms = Terms(nodes)
        watching = asyncio.ensure_future(terms.watch())
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3) as cluster:
            for _ in range(2):
                led = await cluster.until_led(30)
                node = nodes[led.name[0]]
                seat = seat_of(node)
                assert seat is not None
                assert seat.is_leader
                cut_off(lab, node)
                await until(lambda seat=seat: not seat.is_leader, 60)
                with pytest.raises(LockLost):
                    seat.check()
                await until(lambda led=led: cluster.leader not in (None, led), 60)
                await until(lambda seat=seat: not seat.state.is_sure)
                lab.network.heal()
                # It was replaced; back again, it hears so and gets up.
                await until(lambda node=node: seat_of(node) is None, 60)
                assert f"{led.name[0]} out" in made.events
        assert not watching.done()
        watching.cancel()
        assert len(terms.seen) >= 3

    in_lab(tmp_path, scenario)


def test_whoever_uses_it_shares_it_and_the_last_lease_that_ends_dissolves_it(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abcde")
        book = nodes["a"].clusters.book
        one = nodes["u"].net.cluster("eyes", capability=LOOK, min_size=2)
        async with one:
            two = nodes["b"].net.cluster("eyes", capability=LOOK, min_size=4, lease=5)
            async with two:
                await until(lambda: len(one.members) == len(two.members) == 4)
                with pytest.raises(InvalidArguments, match=r"is for vision\.detect"):
                    async with nodes["c"].net.cluster("eyes", capability="vision.other"):
                        pass
                with pytest.raises(TooFewMembers):
                    async with nodes["c"].net.cluster(
                        "eyes", capability=LOOK, min_size=6, timeout=0
                    ):
                        pass
                await until(lambda: [len(c.roster.members) for c in book.all()] == [4])
            await until(lambda: len(one.members) == 2)  # nobody needs four any more
            assert "fewer are needed" in one.state.why
            await nodes["d"].net.cluster("eyes", capability=LOOK, lease=5).__aenter__()
        assert len(book.all()) == 1
        lab.crash(nodes["d"])  # and with it its program
        await until(lambda: not book.all(), 30)
        kv = leader_of(lab).quorum.kv
        assert not kv.list(LEASE)
        assert not kv.list(LEADER)

    in_lab(tmp_path, scenario)


DOCUMENT = Path(__file__).parents[2] / "docs" / "clusters.md"
LEFT_S, DEAD_S, LED_ANEW_S = 0.4, 1.3, 5.3  # as it says


class Takeover(NamedTuple):
    """Seconds from the end of the member that leads, as a user of the cluster sees it.

    Attributes:
        led_the_log: it did, so that another leader of the log had to be found first.
    """

    replaced_s: float
    led_anew_s: float
    led_the_log: bool


async def takeover(lab: NodeLab, cluster: Cluster, nodes: dict[str, Node], how: str) -> Takeover:
    led, clock = await cluster.until_led(30), lab.worlds["u"].clock
    leader = lab.leader()
    led_the_log = leader is not None and leader.peer.peer_id == led.peer
    began_ms, node = clock.now_ms(), nodes.pop(led.name[0])
    if how == "dies":
        lab.crash(node)
    else:
        await node.__aexit__(None, None, None)
        lab.nodes.pop(led.name[0])
        lab.worlds.pop(led.name[0])
    await until(lambda: led not in cluster.members)
    replaced_s = (clock.now_ms() - began_ms) / 1000
    assert len(cluster.members) == 3, "another one came in the same change"
    await until(lambda: cluster.leader not in (None, led))
    return Takeover(replaced_s, (clock.now_ms() - began_ms) / 1000, led_the_log)


@pytest.mark.parametrize("seed", [3, 6])
def test_a_takeover_takes_as_long_as_the_document_says(tmp_path: Path, seed: int) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for figure in (LEFT_S, DEAD_S, LED_ANEW_S):
        assert f"within {figure:g} s" in text

    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abcdef", voters=5)
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3) as cluster:
            await cluster.until_led(30)
            for how in ("leaves", "dies"):
                await until(lambda: lab.leader() is not None)
                took = await takeover(lab, cluster, nodes, how)
                print(how, took)
                if how == "leaves":
                    assert took.led_anew_s <= LEFT_S
                else:
                    assert took.replaced_s <= DEAD_S
                    assert LEASE_S - 0.5 <= took.led_anew_s <= LED_ANEW_S

    in_lab(tmp_path, scenario, voters=5, seed=seed)


def test_one_node_cannot_take_all_leases(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "ab", voters=1)
        greedy, other = nodes["u"].net, nodes["b"].net
        held = []
        with pytest.raises(InvalidArguments, match="32 programs of this node"):
            for _ in range(MAX_LEASES_OF_PEER + 1):
                held.append(greedy.cluster("eyes", capability=LOOK))
                await held[-1].__aenter__()
        async with other.cluster("eyes", capability=LOOK) as cluster:
            assert cluster.is_sure
        for each in held[:-1]:
            await each.__aexit__(None, None, None)
        await until(lambda: not nodes["a"].clusters.book.all())

    in_lab(tmp_path, scenario, voters=1)


def test_a_leader_that_dies_between_lease_and_roster_leaves_a_wish_that_the_next_one_grants(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abcde")
        leader = leader_of(lab)

        async def never(name: str, *, by: str = "") -> None:
            await asyncio.Event().wait()

        leader.clusters._leading._step = never  # type: ignore[assignment, method-assign]
        cluster = nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3, timeout=60)
        holding = asyncio.ensure_future(cluster.__aenter__())
        rest = [node for node in nodes.values() if node is not leader]
        voters = [node for node in rest if node.quorum.replica is not None]
        await until(lambda: all(node.quorum.kv.list(LEASE) for node in voters))
        assert not any(node.quorum.kv.list(ROSTER) for node in voters)
        lab.crash(leader)
        await until(lambda: bool(nodes["u"].clusters.book.all()), 60)
        assert (await holding) is cluster
        assert len(cluster.members) == 3
        await cluster.__aexit__(None, None, None)
        await until(lambda: not nodes["u"].clusters.book.all())

    in_lab(tmp_path, scenario)


def test_a_roster_is_written_only_while_it_is_what_was_looked_at(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abc")
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=2) as cluster:
            at = leader_of(lab).clusters._leading
            roster, version = at._roster("eyes")
            assert roster is not None
            assert version is not None
            after = roster._replace(members=roster.members[:1], why="by one that was deposed")
            for old in (version - 1, None):
                assert await at._decide("eyes", roster, old, Change(after), "") is None
            assert await at._decide("eyes", roster, version - 1, Change(None), "") is None
            assert at._roster("eyes") == (roster, version)
            assert await at._decide("eyes", roster, version, Change(after), "") is not None
            await until(lambda: len(cluster.members) == 2)  # and it is mended at the next look

    in_lab(tmp_path, scenario)


def test_nobody_but_the_network_writes_rosters_and_nobody_but_members_leads(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abc")
        mallory = await lab.up("m", roles=Role.SERVICE | Role.ADMIN | Role.MANAGER)
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3) as cluster:
            await cluster.until_led()
            await until(lambda: lab.leader() is not None)
            leader, roster = leader_of(lab), cluster.members
            for key in (ROSTER + "eyes", LEADER + "eyes", LEASE + "eyes/x/" + "0" * 16):
                with pytest.raises(KeyInvalid):
                    await mallory.net.kv.put(key, b"mine")
                for command in (encode_put(key, b"mine"), encode_delete(key)):
                    said = await mallory.peer.request(
                        leader.peer.peer_id, WRITE, encode_payload([command]), timeout_s=3
                    )
                    reply = read_reply(wire.read_answer(said)[1])
                    assert reply is not None
                    assert [r.refusal for r in reply.results] == [Refusal.KEY_INVALID]
            lock = mallory.net.lock(LEADER + "eyes", timeout=1)
            await refused(lock.__aenter__(), "not in the cluster 'eyes'")
            # Of the leader's term, its token and its lease it gets hold of nothing either.
            token = cluster.state.fence
            params = {"name": LEADER + "eyes", "token": token, "timeout_s": 2, "lease_ms": 9000}
            await refused(mallory.gate.request("lock.renew", params))
            await refused(mallory.gate.request("lock.release", params), "holds it")
            held = leader.quorum.kv.list(LEASE)[0].key.rpartition("/")[2]
            release = {"name": "eyes", "mark": held, "timeout_s": 2}
            await mallory.gate.request("cluster.release", release)  # its own, which there is none
            assert len(leader.quorum.kv.list(LEASE)) == 1
            assert cluster.members == roster
            eye = await lab.up("o", roles=Role.OBSERVER)
            await refused(eye.net.cluster("eyes", capability=LOOK).__aenter__(), "STORE_WRITE")
            await until(lambda: bool(eye.clusters.book.all()))  # who is in it is no secret
            with pytest.raises(PermissionDenied):
                await nodes["u"].net.kv.get(leader.quorum.kv.list(LEASE)[0].key)

    in_lab(tmp_path, scenario)


def test_papers_and_policies_say_who_takes_part(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        made, nodes = await eyes(lab, "abc")
        agent = made.agent("s", "shop")
        nodes["s"] = await lab.up("s", [agent], namespaces=("shop",))
        founder = nodes["a"]
        await founder.net.policy.set(denying("name:b", "lock", "eyes"))
        with pytest.raises(TooFewMembers) as got:
            async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3, timeout=3):
                pass
        reasons = {text[0]: text for text in got.value.unfit}
        assert "rule 'no' of the replicated policy denies" in reasons["b"]
        assert "does not offer" in reasons["s"]
        shop = f"shop:{LOOK}"
        with pytest.raises(TooFewMembers) as got:
            async with nodes["u"].net.cluster("s", capability=shop, min_size=2, timeout=0):
                pass
        assert [name[0] for name in got.value.fits] == ["s"]
        # Whom the policy shuts out while it is in: it goes, and another one comes where there is.
        async with nodes["u"].net.cluster("two", capability=LOOK, min_size=2) as cluster:
            first = cluster.members[0].name[0]
            await founder.net.policy.set(denying(f"name:{first}", "lock", "two"))
            await until(lambda: first not in plain(cluster))
            await until(lambda: len(cluster.members) == 2)
        # Who may not call it, or use that name, holds nothing.
        for action, what in (("call", LOOK), ("lock", "eyes")):
            await founder.net.policy.set(denying("name:u", action, what))
            await refused(nodes["u"].net.cluster("eyes", capability=LOOK).__aenter__(), "'no'")

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_dies_or_is_cut_off_nobody_leads_beside_another_and_it_comes_to_rest(
    tmp_path: Path, seed: int
) -> None:
    async def scenario(lab: NodeLab) -> None:
        rng = Random(seed)
        _, nodes = await eyes(lab, "abcdefgh", voters=5)
        terms = Terms(nodes)
        watching = asyncio.ensure_future(terms.watch())
        versions: list[int] = []
        use = nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3, max_size=4, lease=8)
        async with use as cluster:
            for _ in range(8):
                await hurt(lab, nodes, rng, cluster)
                await asyncio.sleep(rng.uniform(0.2, 12))
                versions.append(cluster.version)
                state = cluster.state
                assert len({m.peer for m in state.members}) == len(state.members) <= 4
                assert not watching.done(), watching.exception()
                if rng.random() < 0.6:
                    lab.network.heal()
            lab.network.heal()
            await until(lambda: cluster.is_sure and len(cluster.members) >= 3, 120)
            await until(lambda: cluster.leader is not None, 60)
            alive = {nodes[n].peer.peer_id for n in nodes}
            await until(lambda: {m.peer for m in cluster.members} <= alive, 60)
            await until(lambda: len(leading(nodes.values())) == 1, 60)
            await until(lambda: leading(nodes.values())[0][1:] == (cluster.state.fence,), 60)
            assert (await cluster.call(to="leader"))[1] is True
            assert versions == sorted(versions)
        await until(lambda: not nodes["u"].clusters.book.all(), 60)
        await until(lambda: not leading(nodes.values()), 60)
        assert not watching.done()
        watching.cancel()
        print("terms", terms.seen, "versions", versions)

    in_lab(tmp_path, scenario, voters=5, seed=seed)


async def hurt(lab: NodeLab, nodes: dict[str, Node], rng: Random, cluster: Cluster) -> None:
    """Kill one, at most two in all; or cut one off, often one that matters."""
    able = [name for name in nodes if name != "u"]
    led, log_led = cluster.leader, lab.leader()
    picks = [rng.choice(able)]
    if led is not None and led.name[0] in nodes:
        picks.append(led.name[0])
    if log_led is not None and log_led.peer.name in able:
        picks.append(log_led.peer.name)
    name = rng.choice(picks)
    if rng.random() < 0.35 and len(able) > 6:
        lab.crash(nodes.pop(name))
    else:
        cut_off(lab, nodes[rng.choice([name, "u"]) if rng.random() < 0.3 else name])


def test_a_voter_that_begins_slowly_is_started_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_new = Unheard.is_new_voter

    async def slowly(self: Unheard, roster: Roster) -> bool:
        if self._peer.name == "c":
            await asyncio.sleep(3)  # while the others lead and write to it
        return await is_new(self, roster)

    monkeypatch.setattr(Unheard, "is_new_voter", slowly)

    async def scenario(lab: NodeLab) -> None:
        await asyncio.gather(*[lab.up(name) for name in "abc"])
        await until(lambda: all(n.quorum.own_replica() is not None for n in lab.nodes.values()))
        await until(lambda: lab.leader() is not None)
        assert not any(node.failure for node in lab.nodes.values())

    in_lab(tmp_path, scenario)
