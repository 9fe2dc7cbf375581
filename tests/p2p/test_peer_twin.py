"""Two processes with one identity: somebody has copied a home."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from peer_lab import Lab, in_lab, until

from p2p import Incident, IntroductionRefused, PeerAdmitted


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def test_a_copied_home_is_an_alarm_at_both_and_named() -> None:
    """What an audit log and the doctor are told; a third sees that one was started again."""
    heard = Heard()
    logging.getLogger("conclave.p2p").addHandler(heard)

    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("twin")
        later = replace(papers, incarnation=papers.incarnation + (1 << 20))
        first, third = lab.peer("twin", papers=papers), lab.peer("third")
        second = lab.peer("copy", papers=later)
        noted: dict[str, list[Incident]] = {"first": [], "second": [], "third": []}
        for name, peer in (("first", first), ("second", second), ("third", third)):
            peer.watch_incidents(noted[name].append)
        await first.__aenter__()
        await third.__aenter__()
        await until(lambda: third.session_of(first.peer_id) is not None)
        await second.__aenter__()

        def alarmed(name: str) -> bool:
            found = [each for each in noted[name] if isinstance(each, IntroductionRefused)]
            return any(each.reason == "twin" and "was copied" in each.said for each in found)

        await until(lambda: alarmed("first") and alarmed("second"), 60)
        assert first.gathering.twin is not None, "for the doctor"
        assert second.gathering.twin is not None
        assert third.gathering.twin is None
        await asyncio.sleep(5)
        how = [each.how for each in noted["third"] if isinstance(each, PeerAdmitted)]
        assert "replaced" in how, "the later start counts"

    try:
        in_lab(scenario)
    finally:
        logging.getLogger("conclave.p2p").removeHandler(heard)
    assert any("data directory was copied" in each for each in heard.said)


@pytest.mark.parametrize("order", [1, -1])
def test_whichever_came_first_the_earlier_start_does_not_come_back(order: int) -> None:
    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("twin")
        later = replace(papers, incarnation=papers.incarnation + (1 << 20))
        third = lab.peer("third")
        early, late = lab.peer("early", papers=papers), lab.peer("late", papers=later)
        await third.__aenter__()
        for peer in (early, late)[::order]:
            await peer.__aenter__()
            await asyncio.sleep(5)
        session = third.session_of(late.peer_id)
        assert session is not None
        assert session.incarnation == late.incarnation

    in_lab(scenario)
