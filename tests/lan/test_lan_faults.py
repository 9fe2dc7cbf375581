"""Five hosts on a LAN of namespaces, and what a LAN does to them. Each test heals what it broke.

Nothing that was acknowledged is ever lost: every test ends with all tasks done and all keys there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from cli_lab import agreed, eventually
from lan_lab import Lan, LanNode, Work, dead_at, measured

pytestmark = pytest.mark.e2e

NAMES = ("ada", "bob", "cyd", "dan", "eve")


@pytest.fixture(scope="module")
def running(here: Lan) -> list[LanNode]:
    """Nobody names anybody: they find each other by mDNS alone."""
    nodes = here.members(*NAMES, voters=5)
    measured("five nodes from nothing", agreed_after=f"{here.start(nodes):.1f} s")
    return nodes


@pytest.fixture
def nodes(here: Lan, running: list[LanNode]) -> Iterator[list[LanNode]]:
    here.until_agreed(running)
    yield running
    here.mend()
    for node in running:
        node.host.link("up")


@pytest.fixture
def work(nodes: list[LanNode]) -> Work:
    """Of before the fault."""
    made = Work()
    for node in nodes:
        made.until_done(node)
    return made


def leader_of(nodes: list[LanNode]) -> LanNode:
    name = eventually(lambda: agreed([*nodes]), "a leader")
    return next(node for node in nodes if node.name == name)


def healed(here: Lan, nodes: list[LanNode], work: Work, fault: str, **more: object) -> None:
    """Heal, wait until all agree, look whether anything is lost, and say how long it took."""
    here.mend()
    took_s = here.until_agreed(nodes)
    for node in nodes:
        work.until_done(node)
        work.check(node)
    measured(fault, **more, agreed_after_healing=f"{took_s:.1f} s")


def test_two_halves(here: Lan, nodes: list[LanNode], work: Work) -> None:
    """The leader is with the fewer: the others elect one, and only they say yes to anything."""
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    few, many = [leader, others[0]], others[1:]
    here.part(few, many)
    took_s = work.until_done(many[0])
    assert not any(work.do(node, 1.0) for node in few)
    healed(here, nodes, work, "two halves", work_went_on_after=f"{took_s:.1f} s")


def test_a_lonely_leader(here: Lan, nodes: list[LanNode], work: Work) -> None:
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    here.part([leader], others)
    took_s = work.until_done(others[0])
    assert not work.do(leader, 1.0)
    healed(here, nodes, work, "a lonely leader", work_went_on_after=f"{took_s:.1f} s")


def test_deaf_in_one_direction(here: Lan, nodes: list[LanNode], work: Work) -> None:
    """The leader hears nobody, and all hear it: it must not lead on."""
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    for node in others:
        here.cut(node, leader)
    took_s = work.until_done(others[0])
    bystanders = {pair for pair in dead_at(others) if leader.name not in pair}
    assert not bystanders, "nobody else was touched"
    healed(here, nodes, work, "a leader that hears nobody", work_went_on_after=f"{took_s:.1f} s")


def test_a_bridge_between_two_that_do_not_meet(here: Lan, nodes: list[LanNode], work: Work) -> None:
    """Two nodes reach all but each other: work goes on, also at both of them."""
    leader = leader_of(nodes)
    one, other = [node for node in nodes if node is not leader][:2]
    here.part([one], [other])
    time.sleep(8.0)  # until both have noticed
    took_s = max(work.until_done(one), work.until_done(other))
    wrong = {pair for pair in dead_at(nodes) if set(pair) != {one.name, other.name}}
    assert not wrong, "all others reach everybody"
    healed(here, nodes, work, "two that do not meet", work_went_on_after=f"{took_s:.1f} s")


def test_a_cable_pulled_and_plugged_in(here: Lan, nodes: list[LanNode], work: Work) -> None:
    leader = leader_of(nodes)
    leader.host.link("down")
    others = [node for node in nodes if node is not leader]
    took_s = work.until_done(others[0])
    leader.host.link("up")
    healed(here, nodes, work, "a cable pulled", work_went_on_after=f"{took_s:.1f} s")


def test_another_address(here: Lan, nodes: list[LanNode], work: Work) -> None:
    """Work goes on at the leader within seconds of another lease, and nobody is held for dead."""
    moved = leader_of(nodes)
    moved.host.set_address("10.77.0.100")
    began = time.monotonic()
    eventually(lambda: work.do(moved, 1.0), "work at the moved node", 20.0)
    took_s = time.monotonic() - began
    assert took_s < 6.0, "connections from an address that is gone are not waited for"
    until = time.monotonic() + 8.0
    wrong: set[tuple[str, str]] = set()
    while time.monotonic() < until:
        wrong |= dead_at(nodes)
        time.sleep(0.2)
    assert not wrong
    healed(here, nodes, work, "another address", work_went_on_after=f"{took_s:.1f} s")


def test_killed_without_a_word(here: Lan, nodes: list[LanNode], work: Work) -> None:
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    leader.kill()
    took_s = work.until_done(others[0])
    leader.home.with_suffix(".log").unlink()
    leader.up().until_up()
    healed(here, nodes, work, "kill -9 of the leader", work_went_on_after=f"{took_s:.1f} s")
