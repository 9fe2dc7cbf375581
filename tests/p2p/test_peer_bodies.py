"""A body on the bulk lane belongs to exactly one envelope; anything else is garbage."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab

from p2p import Lane
from p2p.wire import Envelope, Kind, encode_envelope

ONE = encode_envelope(Envelope(Kind.STREAM, 1, 1, "", 0, 1, b"", b""))
UNKNOWN = encode_envelope(Envelope(200, 1, 1, "", 0, 1, b"", b""))


@pytest.mark.parametrize("frame", [b"", b"garbage", ONE[:-1], ONE + ONE])
def test_a_body_without_exactly_one_envelope_is_garbage_and_who_repeats_it_is_cut_off(
    frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        for _ in range(16):
            a._transport.send(b.peer_id, Lane.BULK, frame, body=b"whose is this?")
        await asyncio.sleep(0.1)
        assert sum(n for name, n in b.counts.items() if name.startswith("bad_frame")) == 16
        assert [r.getMessage() for r in caplog.records if "cut off" in r.getMessage()] == [
            f"a ({a.peer_id[:8]}) is cut off: it sends garbage"
        ]

    in_lab(scenario)


def test_a_body_of_an_envelope_that_we_do_not_understand_is_skipped() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        for _ in range(20):
            a._transport.send(b.peer_id, Lane.BULK, UNKNOWN, body=b"from a newer version")
        await asyncio.sleep(0.1)
        assert b.counts["skipped_unknown_kind"] == 20
        assert b.session_of(a.peer_id) is not None

    in_lab(scenario)
