"""Nobody makes us knock without end, wherever."""

from __future__ import annotations

import asyncio

from peer_lab import Lab, in_lab, until

from keys import PeerId
from p2p.discovery import Address
from p2p.pacing import ADDRESS_BURST, HOST_BURST, PEER_BURST, Pace

HERE = Address("192.0.2.7", 4747)
SOMEBODY = PeerId("a" * 52)


def test_an_address_is_knocked_at_thirty_times_a_minute_in_the_long_run() -> None:
    pace = Pace()
    knocks = sum(len(pace.due([HERE], now_ms)) for now_ms in range(0, 600_000, 100))
    assert ADDRESS_BURST + 290 <= knocks <= ADDRESS_BURST + 300
    assert pace.due([Address("192.0.2.8", 4747)], 600_000), "others are not in its way"


def test_one_host_under_many_ports_is_bounded_too() -> None:
    pace = Pace()
    every_port = [Address("192.0.2.7", port) for port in range(1, 20_001)]
    assert len(pace.due(every_port, 0)) == HOST_BURST
    assert len(pace.due(every_port[HOST_BURST:], 10_000)) == 80


def test_connections_are_made_anew_six_times_a_minute_for_one_peer() -> None:
    pace = Pace()
    moves = sum(pace.may_move(SOMEBODY, now_ms) for now_ms in range(0, 60_000, 100))
    assert PEER_BURST + 5 <= moves <= PEER_BURST + 6


def test_a_peer_whose_connections_are_refused_for_ever_is_not_knocked_at_in_a_loop() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        for _ in range(60):
            for _ in range(20):
                a.gathering.knock(b.peer_id)  # as often as it has our connection refused
                await asyncio.sleep(0.05)
        counts = a.gathering.counts
        assert counts["admitted"] <= ADDRESS_BURST + 60
        assert counts["knocks_too_often"] > 1000
        await until(lambda: b.peer_id in a.presence.present())
        assert a.session_of(b.peer_id) is not None

    in_lab(scenario)
