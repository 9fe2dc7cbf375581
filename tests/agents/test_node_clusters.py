"""Clusters on whole nodes in virtual time: formed, led, mended, dissolved, and cut in two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clusters_lab import LOOK, eyes, plain
from keeping_lab import in_lab, leader_of
from node_lab import NodeLab, until

from agents import Agent, BadAgent, ClusterSeat, Context, InvalidArguments, Net, TooFewMembers
from agents.local import DirectGate, Table
from keys.auditing import AuditEntry, read_audit


def test_a_cluster_is_formed_led_asked_and_dissolved(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        made, nodes = await eyes(lab)
        user = nodes["u"].net
        async with user.cluster("eyes", capability=LOOK, min_size=3) as cluster:
            assert len(cluster.members) == 3
            assert cluster.is_sure
            assert not cluster.is_short
            leader = await cluster.until_led()
            assert leader in cluster.members
            said = [await cluster.call() for _ in range(12)]
            assert "".join(sorted({name for name, _ in said})) == plain(cluster)
            assert {name for name, leads in said if leads} == {leader.name[0]}
            assert await cluster.call(to="leader") == [leader.name[0], True]
            answers = await cluster.call_all()
            assert [answers[m][0] for m in cluster.members] == [m.name[0] for m in cluster.members]
            (listed,) = await nodes["a"].net.clusters()
            assert (listed["name"], listed["is_short"]) == ("eyes", False)
            assert listed["fence"] == cluster.state.fence > 0
            rows = await nodes["a"].net.explain_cluster("eyes")
            assert [row["name"][0] for row in rows if not row["is_member"]][-1] == "u"
            assert rows[-1]["why"] == "it does not offer vision.detect"
            before = cluster.version
        await until(lambda: not nodes["a"].clusters.book.all())
        await until(lambda: sum(e.endswith("out") for e in made.events) == 3)
        async with user.cluster("eyes", capability=LOOK) as again:
            assert again.version > before

    in_lab(tmp_path, scenario)


def test_too_few_are_named_with_those_who_do_not_fit_and_why(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        made, nodes = await eyes(lab, "abc")
        made.word["b"] = ("failed", "no lens")
        made.word["c"] = ("degraded", "dust")
        await until(
            lambda: (
                nodes["u"].directory.providers(LOOK)
                == sorted(nodes[name].peer.peer_id for name in "ac")
            )
        )
        await until(lambda: len(nodes["u"].directory.degraded(LOOK)) == 1)
        with pytest.raises(TooFewMembers) as raised:
            async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3, timeout=0):
                pass
        error = raised.value
        assert error.definite
        assert [name[0] for name in error.fits] == ["a", "c"]
        reasons = {text[0]: text.partition(": ")[2] for text in error.unfit}
        assert reasons == {
            "b": "agent eye is failed: no lens",
            "u": "it does not offer vision.detect",
        }
        assert not await nodes["u"].net.clusters()
        made.word.clear()  # and when they are well again, it works without another word
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3, timeout=60) as two:
            assert plain(two) == "abc"

    in_lab(tmp_path, scenario)


def test_a_failed_a_degraded_and_a_dead_member_are_replaced_and_it_grows_back(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        made, nodes = await eyes(lab, "abcdefg")
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3) as cluster:
            first = plain(cluster)
            assert len(first) == 3
            gone = next(name for name in first if nodes[name] is not lab.leader())
            # One fails: it goes at once, and another one comes.
            made.word[gone] = ("failed", "no lens")
            await until(lambda: gone not in plain(cluster) and len(cluster.members) == 3)
            assert f"{gone} (" in cluster.state.why
            assert "agent eye is failed: no lens" in cluster.state.why
            await until(lambda: f"{gone} out" in made.events)
            # One is degraded: it stays for a while, since it works.
            bad = next(n for n in plain(cluster) if nodes[n] is not lab.leader())
            made.word[bad] = ("degraded", "dust")
            await until(lambda: len(nodes["u"].directory.degraded(LOOK)) == 1)
            assert bad in plain(cluster)
            await until(lambda: bad not in plain(cluster))
            assert len(cluster.members) == 3
            # One dies: it goes with those who hear that it is dead.
            dead = next(n for n in plain(cluster) if nodes[n] is not lab.leader())
            lab.crash(nodes[dead])
            await until(lambda: dead not in plain(cluster) and not cluster.is_short)
            assert "has failed" in cluster.state.why

    in_lab(tmp_path, scenario)


def test_it_goes_on_when_the_leaders_of_the_log_and_of_the_cluster_die(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abcdef", voters=5)
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=3) as cluster:
            tokens = []
            for _ in range(2):
                led = await cluster.until_led(30)
                tokens.append(cluster.state.fence)
                lab.crash(nodes[led.name[0]])
                del nodes[led.name[0]]
                await until(lambda led=led: led not in cluster.members)
                await until(lambda: cluster.leader is not None)
            assert tokens == sorted(set(tokens))
            assert cluster.state.fence > tokens[-1]
            log_leader = lab.leader()
            if log_leader is None:
                await until(lambda: lab.leader() is not None)
                log_leader = leader_of(lab)
            assert not cluster.is_short
            assert cluster.is_sure
        await until(lambda: not nodes["u"].clusters.book.all())

    in_lab(tmp_path, scenario, voters=5)


def test_what_runs_in_a_cluster_is_begun_again_when_it_raises_and_ends_with_the_seat(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        agent = Agent("eye")
        events: list[str] = []

        @agent.on_cluster
        async def seated(seat: ClusterSeat) -> None:
            events.append(f"begins in {seat.name}")
            if len(events) < 3:
                raise ValueError("not yet")
            try:
                async for change in seat.watch():
                    events.append(str(change))
            finally:
                events.append("ends")

        @agent.serve(LOOK)
        async def detect(context: Context) -> list[Any]:
            return [sorted(context.clusters), context.cluster is not None]

        node = await lab.up("a", [agent])
        await until(lambda: lab.leader() is not None)
        net = node.net
        assert await net.call(LOOK) == [[], False]
        async with net.cluster("one", capability=LOOK):
            await until(lambda: len(events) >= 3)
            assert events[:3] == ["begins in one"] * 3
            assert await net.call(LOOK) == [["one"], True]
            assert await (await net.submit(LOOK)).result(timeout=20) == [["one"], True]
            async with net.cluster("two", capability=LOOK):
                await until(lambda: len(node.clusters.seats(LOOK)) == 2)
                assert await net.call(LOOK) == [["one", "two"], False]
        await until(lambda: events.count("ends") == 2)
        assert await net.call(LOOK) == [[], False]
        await node.auditing.audit.flush()
        entries = [e.note for e in read_audit(node.home / "audit") if isinstance(e, AuditEntry)]
        told = [(e.kind, e.subject, e.by) for e in entries if e.kind.startswith("cluster.")]
        assert told == [
            *[("cluster.formed", name, "a") for name in ("one", "two")],
            *[("cluster.dissolved", name, "a") for name in ("two", "one")],
        ]

    in_lab(tmp_path, scenario, voters=1)


def test_a_hook_is_one_async_function() -> None:
    agent = Agent("eye")
    with pytest.raises(BadAgent, match="async"):
        agent.on_cluster(lambda seat: None)

    @agent.on_cluster
    async def seated(seat: ClusterSeat) -> None: ...

    with pytest.raises(BadAgent, match="two functions"):
        agent.on_cluster(seated)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a/b", {}),
        ("", {}),
        ("A", {}),
        ("x" * 200, {}),
        ("eyes", {"min_size": 0}),
        ("eyes", {"min_size": 3, "max_size": 2}),
        ("eyes", {"min_size": 65}),
        ("eyes", {"capability": "noword"}),
        ("eyes", {"capability": "eye/vision.detect"}),
        ("eyes", {"lease": 0.5}),
    ],
)
def test_what_cannot_be_a_cluster_is_refused_before_anybody_is_asked(
    name: str, options: dict[str, Any]
) -> None:
    net = Net(DirectGate(Table({}, {}, {})), "a", "b")
    with pytest.raises(InvalidArguments):
        net.cluster(name, **{"capability": LOOK, **options})
