"""Other LANs than the good one: no multicast, no IPv4, lossy, narrow, and processes that stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_lab import eventually
from lan_lab import PORT, Lan, LanNode, Work, dead_at, lan, measured, stop

from agents.network_check_service import PAUSE_MS
from benchmarks.starving import starved

pytestmark = pytest.mark.e2e

NAMES = ("ada", "bob", "cyd")


def busy(work: Work, nodes: list[LanNode], seconds: float) -> tuple[int, set[tuple[str, str]]]:
    """Work at all nodes in turn; returns how often in vain, and who was held for dead meanwhile."""
    until = time.monotonic() + seconds
    refused, dead, turn = 0, set[tuple[str, str]](), 0
    while time.monotonic() < until:
        refused += not work.do(nodes[turn % len(nodes)])
        dead |= dead_at(nodes)
        turn += 1
        time.sleep(0.1)
    return refused, dead


def whole(work: Work, nodes: list[LanNode]) -> None:
    for node in nodes:
        work.until_done(node)
        work.check(node)


def test_a_seed_is_enough_where_no_multicast_passes(tmp_path: Path) -> None:
    with lan(tmp_path) as here:
        nodes = here.members(*NAMES)
        here.mute()
        took_s = here.start(nodes, seeds=1)
        work = Work()
        whole(work, nodes)
        measured("no multicast, one seed", agreed_after=f"{took_s:.1f} s")


def test_ipv6_alone(tmp_path: Path) -> None:
    with lan(tmp_path) as here:
        nodes = here.members(*NAMES, ipv6=True)
        took_s = here.start(nodes, "--host", "::")
        work = Work()
        whole(work, nodes)
        measured("IPv6 alone", agreed_after=f"{took_s:.1f} s")


def told(node: LanNode, topic: str) -> list[str]:
    """What its doctor says of this, once its peers may be asked again."""
    time.sleep(PAUSE_MS / 1000)
    said = json.loads(node.run("doctor", "--network", "--json").out)
    return [f"{f['level']} {f['said']} {f['advice']}" for f in said if f["topic"] == topic]


def test_a_node_is_where_it_says_whatever_family(tmp_path: Path) -> None:
    """By default nobody listens on IPv6, and nobody is told of it; with `--host ::`, both."""
    with lan(tmp_path) as here:
        ada, bob, cyd = here.members("ada", "bob", "cyd")
        for number, node in enumerate((ada, bob, cyd), start=1):
            node.host.ip("addr", "add", f"fd00:c0::{number}/64", "dev", "eth0", "nodad")
        ada.up(mdns=False)
        ada.until_up()
        bob.up("--host", "::", "--seed", f"{ada.host.address}:{PORT}", mdns=False)
        bob.until_up()
        cyd.up("--host", "::", "--seed", f"[fd00:c0::2]:{PORT}", mdns=False)
        cyd.until_up()
        here.until_agreed([ada, bob, cyd])
        told = [node.status()["door_hosts"] for node in (ada, bob)]
        assert told[0] == [ada.host.address]
        assert set(told[1]) == {bob.host.address, "fd00:c0::2"}


def test_the_doctor_names_the_firewall(tmp_path: Path) -> None:
    with lan(tmp_path) as here:
        nodes = here.members(*NAMES)
        here.start(nodes)
        ada = nodes[0]
        (well,) = told(ada, "reach")
        assert f"ok {ada.host.address}:4747 is reached by all 2" in well
        (heard,) = told(ada, "mDNS")
        assert heard.startswith("ok 2 peer(s) are heard")
        here.block(ada, "tcp dport 4747")
        (firewall,) = told(ada, "reach")
        assert "gives no answer to" in firewall
        assert "ufw allow 4747:4755/tcp" in firewall


def test_the_doctor_knows_of_multicast_that_is_kept_back(tmp_path: Path) -> None:
    with lan(tmp_path) as here:
        nodes = here.members(*NAMES)
        here.mute()
        here.start(nodes, seeds=1)
        said = " ".join(told(nodes[1], "mDNS"))
        assert "never heard this node" in said
        assert "multicast is kept back" in said
        assert "--seed HOST:PORT" in said


def stopped(work: Work, here: Lan, nodes: list[LanNode], seconds: float) -> None:
    """One process stands still, as when a lid is closed; the others go on, and it comes back."""
    one, others = nodes[0], nodes[1:]
    stop(one, seconds)
    began = time.monotonic()
    eventually(lambda: work.do(one, 2.0), "work at the one that stood still", 30.0)
    work_s = time.monotonic() - began
    _, dead = busy(work, others, 3.0)
    assert not {pair for pair in dead if one.name not in pair}
    agreed_s = here.until_agreed(nodes)
    whole(work, nodes)
    measured(
        f"SIGSTOP of {seconds:g} s",
        work_at_it_after=f"{work_s:.1f} s",
        all_agree_after=f"{agreed_s + work_s + 3:.1f} s at most",
    )


def loss(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    here.lose(30)
    refused, dead = busy(work, nodes, 30.0)
    here.mend()
    took_s = here.until_agreed(nodes)
    whole(work, nodes)
    measured(
        "30 % loss for 30 s",
        refused=f"{refused} of {len(work.tasks) + refused}",
        wrongly_dead=len(dead),
        agreed_after_healing=f"{took_s:.1f} s",
    )


def narrow(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    here.narrow(5)
    refused, dead = busy(work, nodes, 10.0)
    assert not dead
    whole(work, nodes)
    measured("5 Mbit/s", refused=refused, acknowledged=len(work.tasks), wrongly_dead=len(dead))


def flaps(
    work: Work, here: Lan, nodes: list[LanNode], down_s: float, up_s: float, times: int
) -> None:
    """The cable of one comes and goes."""
    one, others = nodes[0], nodes[1:]
    refused = 0
    dead: set[tuple[str, str]] = set()
    for _ in range(times):
        one.host.link("down")
        time.sleep(down_s)
        one.host.link("up")
        refused += not work.do(others[0])
        dead |= dead_at(others)
        time.sleep(up_s)
    assert not {pair for pair in dead if one.name not in pair}
    took_s = here.until_agreed(nodes)
    whole(work, nodes)
    measured(
        f"a flapping cable, {down_s:g} s down and {up_s:g} s up, {times} times",
        refused_at_the_others=f"{refused} of {times}",
        wrongly_dead=len(dead),
        agreed_after_healing=f"{took_s:.1f} s",
    )


def flapping(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    flaps(work, here, nodes, 1.0, 1.0, 15)


def flickering(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    """Shorter than anybody looks at addresses."""
    flaps(work, here, nodes, 0.3, 0.4, 30)


def starving(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    """One gets a tenth of a processor, and shares that."""
    one = nodes[0]
    assert one.process is not None
    with starved(one.process.pid) as means:
        refused, dead = busy(work, nodes[1:], 30.0)
    took_s = here.until_agreed(nodes)
    assert not {pair for pair in dead if one.name not in pair}
    whole(work, nodes)
    measured(
        f"30 s in which one {means}",
        refused_at_the_others=f"{refused} of {len(work.tasks) + refused}",
        wrongly_dead=len(dead),
        agreed_after_healing=f"{took_s:.1f} s",
    )


def short_nap(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    stopped(work, here, nodes, 5.0)


def long_nap(work: Work, here: Lan, nodes: list[LanNode]) -> None:
    stopped(work, here, nodes, 60.0)


@pytest.mark.parametrize(
    "scenario",
    [
        short_nap,
        pytest.param(long_nap, marks=pytest.mark.slow),
        pytest.param(loss, marks=pytest.mark.slow),
        pytest.param(narrow, marks=pytest.mark.slow),
        pytest.param(flapping, marks=pytest.mark.slow),
        pytest.param(flickering, marks=pytest.mark.slow),
        pytest.param(starving, marks=pytest.mark.slow),
    ],
)
def test_three_nodes_and(
    scenario: Callable[[Work, Lan, list[LanNode]], None], tmp_path: Path
) -> None:
    with lan(tmp_path) as here:
        nodes = here.members(*NAMES)
        here.start(nodes)
        work = Work()
        whole(work, nodes)
        scenario(work, here, nodes)
