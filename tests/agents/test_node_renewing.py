"""Certificates that are renewed while nodes run: in virtual time, with lives of a minute."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents.agent import Agent
from agents.doctoring import examine
from agents.errors import NotRenewed
from agents.node import Node
from keys import Chain, Keystore
from p2p import MemberState
from p2p.presence import Presence

MINUTE_MS = 60_000

echo = Agent("echo")


@echo.serve("echo.say")
async def say(word: str) -> str:
    await asyncio.sleep(0.3)  # so that a renewal falls into calls
    return word


async def short_lived(lab: NodeLab) -> tuple[Node, Node, Node]:
    """A network whose issuer gives certificates for a minute."""
    a = await lab.up("a", [echo])
    issuer = a.keystore.issuer
    assert issuer is not None
    issuer.certificate_ms = MINUTE_MS
    b, c = await lab.up("b"), await lab.up("c", [echo])
    await until(lambda: lab.leader() is not None)
    return a, b, c


def serial_of(node: Node) -> bytes:
    return node.peer.principal.serial


def test_nodes_live_through_many_renewals_under_load_and_nothing_is_cut(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await short_lived(lab)
        await b.net.wait_for("echo.say", timeout=10)
        term, serials = a.quorum.term, {serial_of(c)}
        changes: list[MemberState] = []
        lost = 0
        for node in (a, b, c):
            node.peer.watch(lambda event: changes.append(getattr(event, "after", None)))
        for number in range(1300):
            said = await b.net.call("echo.say", f"{number}", peer=c.peer.peer_id)
            lost += said != f"{number}"
            if number % 50 == 0:
                await b.net.kv.put("key", number)
            serials.add(serial_of(c))
        assert lost == 0
        assert c.renewing.counts["renewals"] >= 8, c.renewing.counts
        assert len(serials) == c.renewing.counts["renewals"] + 1
        assert a.quorum.term == term, "no election"
        gone = [state for state in changes if state not in (None, MemberState.ALIVE)]
        assert not gone, "nobody was suspected"
        session = b.peer.session_of(c.peer.peer_id)
        assert session is not None
        assert session.principal.serial == serial_of(c), "the others know the latest"
        assert c.keystore.chain.leaf.serial == serial_of(c), "and so does the disk"
        assert Keystore.open(c.home).chain.encode() == c.keystore.chain.encode()

    in_lab(tmp_path, scenario)


def test_without_an_issuer_it_is_tried_again_said_and_mended(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await short_lived(lab)
        issuer = a.keystore.issuer
        assert issuer is not None
        issuer.why_unable = lambda: "it is being tested"
        await until(lambda: c.renewing.problem is not None, 120)
        assert "it is being tested" in str(c.renewing.problem)
        findings = [one for one in examine(c) if one.topic == "certificate"]
        assert findings[0].level == "problem"
        assert "conclave renew" in findings[0].advice
        with pytest.raises(NotRenewed, match=r"a .*: .*tested"):
            await c.net.renew()
        issuer.why_unable = lambda: None
        before = serial_of(c)
        await until(lambda: serial_of(c) != before, 30)
        assert c.renewing.problem is None
        assert [one.level for one in examine(c) if one.topic == "certificate"] == ["ok"]
        assert b.peer.presence.state_of(c.peer.peer_id) is MemberState.ALIVE

    in_lab(tmp_path, scenario)


def test_attempts_are_few_while_nobody_grants(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, _, c = await short_lived(lab)
        issuer = a.keystore.issuer
        assert issuer is not None
        issuer.why_unable = lambda: "it is being tested"
        await asyncio.sleep(65)
        assert 3 <= c.renewing.counts["renewals_tried"] <= 60

    in_lab(tmp_path, scenario)


def test_an_answer_that_is_lost_costs_no_second_certificate(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, _, c = await short_lived(lab)
        issuer = a.keystore.issuer
        assert issuer is not None
        given: list[bytes] = []
        adopt = c.renewing._adopt

        def lost(answer: bytes) -> Chain:
            given.append(answer)
            if len(given) == 1:
                raise NotRenewed(("the answer was lost",))
            return adopt(answer)

        c.renewing._adopt = lost  # type: ignore[method-assign]
        with pytest.raises(NotRenewed):
            await c.net.renew()
        await c.net.renew()
        assert given[0] == given[1]
        assert len(issuer.issued.of_key(c.peer.peer_id)) == 2  # that of the join, and this one

    in_lab(tmp_path, scenario)


def test_a_crash_between_writing_and_showing_leaves_a_good_home(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, _, c = await short_lived(lab)
        old = c.keystore.chain

        def fail(chain: Chain) -> None:
            raise RuntimeError("killed here")

        c.peer.adopt_chain = fail  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await c.net.renew()
        found = Keystore.open(c.home)
        assert found.chain.leaf.serial != old.leaf.serial
        assert found.chain.leaf.not_after_ms > old.leaf.not_after_ms

    in_lab(tmp_path, scenario)


def test_an_issuer_whose_clock_is_off_issues_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, _, c = await short_lived(lab)
        monkeypatch.setattr(Presence, "clock_offset_ms", -400_000)
        with pytest.raises(NotRenewed, match="400 s ahead of"):
            await c.net.renew()
        monkeypatch.undo()
        await c.net.renew()

    in_lab(tmp_path, scenario)
