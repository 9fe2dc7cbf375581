"""Many candidates whom nobody wants to dial just now."""

from __future__ import annotations

import asyncio

from peer_lab import Lab, in_lab

from keys import PeerId
from p2p.discovery import CandidateEvent, Found, NotNow, Source, Told

MANY = 60


def test_those_whom_nobody_wants_are_refused_a_few_in_each_turn_of_the_loop() -> None:
    async def scenario(lab: Lab) -> None:
        ada = lab.peer("ada")
        await lab.up("ada")
        gathering, table = ada.gathering, ada.gathering._table
        asked: list[PeerId] = []
        steps: list[CandidateEvent] = []
        step = table.step

        def counted(event: CandidateEvent, *, now_ms: int) -> object:
            steps.append(event)
            return step(event, now_ms=now_ms)

        table.step = counted  # type: ignore[method-assign, assignment]
        gathering.wants = lambda peer_id: bool(asked.append(peer_id))
        names = [PeerId(f"{'abcdefgh'[n // 8]}{'abcdefgh'[n % 8]}" + "a" * 50) for n in range(MANY)]
        found = (Found(Source.GOSSIP, p, (f"10.0.0.{n}",), 4747) for n, p in enumerate(names, 1))
        gathering._step(Told(tuple(found)))
        assert len(steps) == 1, "each step looks at everybody: others have a turn before the next"
        assert 0 < len(asked) < MANY
        await asyncio.sleep(0.2)  # the courtesy of the greater id is over
        assert set(asked) == set(names)
        refused = [len(event.dials) for event in steps if isinstance(event, NotNow)]
        assert sum(refused) == len(asked)

    in_lab(scenario)
