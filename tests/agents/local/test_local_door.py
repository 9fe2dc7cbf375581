"""Programs of this machine and the node: answers, errors, streams, garbage, permissions."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from local_lab import door, frame, run, say

from agents import NodeNotUp, NoProvider, TaskFailed
from agents.local import attach
from agents.local.frames import MAX_FRAME_BYTES
from p2p import HandlerFailed, PayloadError, PayloadTooLarge


def test_requests_share_a_connection_and_are_answered_out_of_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            held = asyncio.create_task(gate.request("hold", {}))
            await desk.begun.wait()
            many = [gate.request("echo", {"n": n}) for n in range(100)]
            assert await asyncio.gather(*many) == [{"n": n} for n in range(100)]
            held.cancel()
            await gate.close()

    run(main())


def test_a_cancelled_request_is_cancelled_in_the_node(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            held = asyncio.create_task(gate.request("hold", {}))
            await desk.begun.wait()
            held.cancel()
            await desk.until_ended("hold")
            assert await gate.request("echo", {}) == {}
            await gate.close()

    run(main())


def test_what_a_program_asked_ends_when_it_goes_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            held = asyncio.create_task(gate.request("hold", {}))
            await desk.begun.wait()
            await gate.close()
            await desk.until_ended("hold")
            with pytest.raises(NodeNotUp):
                await held

    run(main())


@pytest.mark.parametrize(
    "error",
    [
        NoProvider("lab.add", ("lab.sub",), 3),
        HandlerFailed("ada", "lab.add", "no luck", "ZeroDivisionError", "Traceback: ..."),
        TaskFailed("t" * 32, "ada", "ValueError", "no", "Traceback: ..."),
        PayloadTooLarge(3, 2),
        PayloadError("value is odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_class_text_and_fields(tmp_path: Path, error: Exception) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            desk.error = error
            gate = await attach(tmp_path)
            with pytest.raises(type(error)) as caught:
                await gate.request("fail", {})
            assert str(caught.value) == str(error)
            assert vars(caught.value) == vars(error)
            await gate.close()

    run(main())


def test_an_error_of_an_unknown_class_keeps_its_words(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            desk.error = LookupError("gone")
            gate = await attach(tmp_path)
            with pytest.raises(Exception, match="gone"):
                await gate.request("fail", {})
            with pytest.raises(Exception, match="no operation 'nothing'"):
                await gate.request("nothing", {})
            with pytest.raises(PayloadError, match="object"):
                await gate.request("odd", {})
            await gate.close()

    run(main())


def test_a_stream_yields_ends_and_fails_like_its_operation(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            assert [n async for n in gate.stream("count", {"to": 3})] == [0, 1, 2]
            desk.error = NoProvider("lab.add", (), 1)
            seen = []
            with pytest.raises(NoProvider):
                async for item in gate.stream("fail_late", {}):
                    seen.append(item)
            assert seen == [0]
            await gate.close()

    run(main())


def test_a_stream_that_is_left_ends_in_the_node(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            stream = gate.stream("count", {"to": 10**9})
            assert await anext(stream) == 0
            await stream.aclose()
            await desk.until_ended("count")
            await gate.close()

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\xff\xff\xff\xff",
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x05hi",
        frame(7),
        frame([1, "echo"]),
        frame(["one", "echo", {}]),
        frame([1, "echo", 7]),
        frame([1, 7, {}]),
        frame([-5, "", {}]),
        frame([1, ["echo"], {}]),
        frame([2**63, "echo", {}]),
        frame([True, "echo", {}]),
    ],
    ids=lambda data: repr(data[:16]),
)
def test_garbage_ends_at_most_its_own_connection(tmp_path: Path, data: bytes) -> None:
    async def main() -> None:
        async with door(tmp_path):
            await say(tmp_path, data)

    run(main())


def test_an_id_that_is_under_way_is_not_taken_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            answer = await say(tmp_path, frame([1, "hold", {}], [1, "echo", {}]))
            assert answer[:2] == [1, "error"]
            await desk.until_ended("hold")

    run(main())


def test_only_this_user_may_come_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path):
            for name in ("node.sock", "node.json"):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
            said = json.loads((tmp_path / "node.json").read_text())
            assert said["pid"] == os.getpid()

    run(main())
    assert not list(tmp_path.iterdir())


def test_a_home_with_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 90) / ("y" * 90)
    home.mkdir(parents=True)
    places: list[Path] = []

    async def main() -> None:
        async with door(home):
            places.append(Path(json.loads((home / "node.json").read_text())["socket"]))
            assert places[0].parent != home
            assert stat.S_IMODE(places[0].parent.stat().st_mode) == 0o700

    run(main())
    assert not places[0].parent.exists()


def test_a_socket_that_a_killed_node_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "node.sock").write_text("left behind")

    async def main() -> None:
        async with door(tmp_path):
            pass

    run(main())


@pytest.mark.parametrize("card", [None, "", "{", "[]", "{}", '{"socket": 7}', '{"socket": "/no"}'])
def test_without_a_node_there_is_one_clear_error(tmp_path: Path, card: Any) -> None:
    if card is not None:
        (tmp_path / "node.json").write_text(card)

    async def main() -> None:
        with pytest.raises(NodeNotUp, match="conclave up"):
            await attach(tmp_path)

    run(main())


def test_a_node_that_stops_ends_what_waits_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            held = asyncio.create_task(gate.request("hold", {}))
            await desk.begun.wait()
        with pytest.raises(NodeNotUp):
            await held
        with pytest.raises(NodeNotUp):
            await gate.request("echo", {})
        await gate.close()

    run(main())
