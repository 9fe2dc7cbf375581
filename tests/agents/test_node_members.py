"""`net.members`: programs hear who comes, is suspected, fails, comes back and leaves, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents.net_members import MemberEvent, MemberKind, MembersNet, told_of
from keys import PeerId
from p2p import MemberChange, MemberState

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def test_programs_are_told_who_joins_fails_comes_back_and_leaves(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a = await lab.up("a")
        events: list[MemberEvent] = []

        async def watch() -> None:
            async for event in a.net.members.watch():
                events.append(event)

        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(0.1)
        b = await lab.up("b")
        b_id = b.peer.peer_id

        def kinds() -> list[MemberKind]:
            return [event.kind for event in events if event.peer == b_id]

        await until(lambda: MemberKind.JOINED in kinds())
        assert events[0].name.startswith("b (")
        assert events[0].incarnation == b.peer.incarnation
        lab.network.partition([lab.worlds["a"].host], [lab.worlds["b"].host])
        await until(lambda: MemberKind.FAILED in kinds(), 30)
        rows = {row["name"]: row for row in await a.net.members.show()}
        assert (rows["a"]["is_self"], rows["b"]["state"]) == (True, "dead")
        lab.network.heal()
        await until(lambda: MemberKind.ALIVE_AGAIN in kinds(), 60)
        await lab.nodes.pop("b").__aexit__(None, None, None)
        await until(lambda: MemberKind.LEFT in kinds(), 30)
        told = kinds()
        assert told[0] is MemberKind.JOINED
        assert told[-1] is MemberKind.LEFT
        assert told.index(MemberKind.SUSPECTED) < told.index(MemberKind.FAILED)
        assert all(event.why for event in events)
        times = [event.at_ms for event in events]
        assert times == sorted(times)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (None, ALIVE, MemberKind.JOINED),
        (ALIVE, SUSPECT, MemberKind.SUSPECTED),
        (SUSPECT, ALIVE, MemberKind.ALIVE_AGAIN),
        (DEAD, ALIVE, MemberKind.ALIVE_AGAIN),
        (LEFT, ALIVE, MemberKind.ALIVE_AGAIN),
        (SUSPECT, DEAD, MemberKind.FAILED),
        (ALIVE, LEFT, MemberKind.LEFT),
    ],
)
def test_what_happened_is_named(
    before: MemberState | None, after: MemberState, kind: MemberKind
) -> None:
    change = MemberChange(PeerId("p"), 3, before, after, "why")
    assert told_of(change, "name", 5)["kind"] == kind


def test_a_slow_reader_is_told_what_it_missed() -> None:
    class Gate:
        async def request(self, operation: str, params: Any) -> Any:
            raise AssertionError

        async def stream(self, operation: str, params: Any) -> Any:
            told = told_of(MemberChange(PeerId("p"), 3, None, ALIVE, "why"), "name", 5)
            yield {"event": "leader", "lost_before": 4}
            yield {**told, "lost_before": 2}
            yield told

    async def read() -> list[MemberEvent]:
        gate: Any = Gate()
        return [event async for event in MembersNet(gate).watch()]

    assert [event.missed for event in asyncio.run(read())] == [6, 0]
