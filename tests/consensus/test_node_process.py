"""`python -m consensus.node` from outside: real processes, real files, kill -9, linearizable."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness_lab import Client, Harness, leader_of

from consensus.sim.histories import REFUSED, UNKNOWN, Done, Outcome, Recorder
from consensus.sim.linearizable import Verdict, check
from consensus.sim.models import Cas, KeyValue, KeyValueOp, Read, Write

pytestmark = pytest.mark.e2e


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    nodes = Harness(tmp_path, 3, "--snapshot-entries", "100")
    nodes.start()
    yield nodes
    nodes.stop()


def test_every_operation_of_the_protocol(harness: Harness) -> None:
    async def main() -> None:
        leader = await leader_of(harness)
        client = await Client.to(harness.ports[leader])
        assert (await client.ask("read", key="x"))["value"] is None
        assert (await client.ask("write", key="x", value={"b": 1, "a": [2]}))["ok"]
        assert (await client.ask("read", key="x"))["value"] == {"a": [2], "b": 1}
        stale = await client.ask("read", key="x", linearizable=False)
        assert stale["value"] == {"a": [2], "b": 1}
        refused = await client.ask("cas", key="x", expect=5, value=6)
        assert refused["fail"] == "value_mismatch"
        assert (await client.ask("cas", key="x", expect={"a": [2], "b": 1}, value=6))["ok"]
        assert (await client.ask("cas", key="new", expect=None, value=1))["ok"]
        first = await client.ask("claim", key="job", value="me", lease_ms=60_000)
        assert first["token"] > 0
        assert (await client.ask("claim", key="job", value="you"))["fail"] == "held"
        token = first["token"]
        assert (await client.ask("renew", key="job", token=token))["ok"]
        stale_token = await client.ask("complete", key="job", token=token - 1, value="no")
        assert stale_token["fail"] == "stale_token"
        assert (await client.ask("complete", key="job", token=token, value="done"))["ok"]
        assert (await client.ask("read", key="job"))["value"] == "done"
        for bad in ({"op": "nonsense"}, {"op": "read"}, {"op": "read", "key": 5}):
            op = str(bad.pop("op"))
            assert "bad request" in (await client.ask(op, **bad))["fail"]
        await client.raw(b"\xff{]\n")
        assert (await client.ask("status"))["leader"] == leader
        follower = next(name for name in harness.names if name != leader)
        other = await Client.to(harness.ports[follower])
        said = await other.ask("write", key="x", value=1)
        assert (said["fail"], said["leader"]) == ("not_leader", leader)
        await client.close()
        await other.close()

    asyncio.run(main())


def test_a_lease_ends_by_decision_and_the_next_token_is_larger(harness: Harness) -> None:
    async def main() -> None:
        client = await Client.to(harness.ports[await leader_of(harness)])
        begun_s = time.monotonic()
        first = await client.ask("claim", key="job", value="a", lease_ms=300)
        second = await client.ask("claim", key="job", value="b", lease_ms=300)
        while "fail" in second:
            await asyncio.sleep(0.02)
            second = await client.ask("claim", key="job", value="b", lease_ms=300)
        assert time.monotonic() - begun_s >= 0.29
        assert second["token"] > first["token"]
        late = await client.ask("complete", key="job", token=first["token"], value="late")
        assert late["fail"] == "stale_token"
        await client.close()

    asyncio.run(main())


def test_addresses_that_are_not_loopback_are_refused(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "consensus.node", "--data-dir", str(tmp_path), "--id", "a"),
        *("--peers", "a=192.0.2.1:4000", "--client-port", "0"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "not a loopback address" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_trace_has_the_fields_of_the_vocabulary(harness: Harness) -> None:
    async def main() -> None:
        client = await Client.to(harness.ports[await leader_of(harness)])
        for n in range(5):
            await client.ask("write", key="x", value=n)
        await client.close()

    asyncio.run(main())
    seen: set[str] = set()
    for name in harness.names:
        commit = 0
        for line in harness.trace(name).read_text().splitlines():
            event = json.loads(line)
            seen.add(event["name"])
            assert event["nid"] == name
            assert {"state", "role", "log", "conf"} <= set(event)
            assert set(event["state"]) == {"term", "vote", "commit"}
            assert event["state"]["commit"] >= commit
            commit = event["state"]["commit"]
    assert {
        "InitState",
        "BecomeCandidate",
        "BecomeLeader",
        "BecomeFollower",
        "Replicate",
        "Commit",
        "Ready",
        "SendAppendEntriesRequest",
        "ReceiveAppendEntriesRequest",
        "SendAppendEntriesResponse",
        "ReceiveAppendEntriesResponse",
        "SendRequestVoteRequest",
        "ReceiveRequestVoteResponse",
    } <= seen


class Worker:
    """A client that goes on through deaths of leaders, and writes down what it saw."""

    def __init__(self, harness: Harness, name: str, recorder: Recorder[KeyValueOp]) -> None:
        self._harness = harness
        self._name = name
        self._recorder = recorder
        self._rng = random.Random(name)
        self._client: Client | None = None
        self.done = 0

    async def run(self, is_over: Callable[[], bool]) -> None:
        written = 0
        while not is_over():
            key = f"k{self._rng.randrange(3)}"
            written += 1
            value = f"{self._name}-{written}"
            match self._rng.randrange(3):
                case 0:
                    await self._do(Read(key), "read", key=key)
                case 1:
                    await self._do(Write(key, value), "write", key=key, value=value)
                case _:
                    expected = f"{self._name}-{max(1, written - self._rng.randrange(1, 6))}"
                    op = Cas(key, expected, value)
                    await self._do(op, "cas", key=key, expect=expected, value=value)
        if self._client is not None:
            await self._client.close()

    async def _do(self, op: KeyValueOp, verb: str, **fields: Any) -> None:
        if self._client is None:
            name = self._rng.choice(self._harness.names)
            try:
                self._client = await Client.to(self._harness.ports[name])
            except OSError:
                await asyncio.sleep(0.02)
                return
        number = self._recorder.invoke(self._name, op, _now_us())
        try:
            async with asyncio.timeout(3):
                answer = await self._client.ask(verb, **fields)
        except TimeoutError:
            answer = {"unknown": "no answer"}
        outcome = _outcome_of(verb, answer)
        self._recorder.settle(number, outcome, _now_us())
        self.done += isinstance(outcome, Done)
        if outcome is UNKNOWN or (outcome is REFUSED and "leader" in answer):
            await self._client.close()
            self._client = None


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _outcome_of(verb: str, answer: dict[str, Any]) -> Outcome:
    if "unknown" in answer:
        return UNKNOWN
    if verb == "cas" and answer.get("fail") in ("value_mismatch", "not_found"):
        return Done(False)
    if "fail" in answer:
        return REFUSED
    return Done(answer["value"] if verb == "read" else (True if verb == "cas" else None))


def test_what_clients_see_is_linearizable_while_nodes_are_killed_and_stopped(
    harness: Harness,
) -> None:
    rng = random.Random(3)
    recorder: Recorder[KeyValueOp] = Recorder()

    strikes = 0

    async def disturb(is_over: Callable[[], bool]) -> None:
        nonlocal strikes
        while not is_over():
            await asyncio.sleep(0.6)
            leader = await leader_of(harness)
            name = leader if rng.random() < 0.7 else rng.choice(harness.names)
            if name not in harness.running:
                continue
            strikes += 1
            if rng.random() < 0.6:
                await asyncio.to_thread(harness.kill, name)
                await asyncio.sleep(0.7)
                await asyncio.to_thread(harness.start, name)
            else:
                harness.signal(name, signal.SIGSTOP)
                await asyncio.sleep(0.9)
                harness.signal(name, signal.SIGCONT)

    async def main() -> None:
        await leader_of(harness)
        begun_s = time.monotonic()
        workers = [Worker(harness, f"c{n}", recorder) for n in range(4)]

        def is_enough() -> bool:
            return strikes >= 3 and sum(worker.done for worker in workers) > 200

        def is_over() -> bool:
            """Nine seconds; a busy machine gets as much done in more."""
            return time.monotonic() - begun_s >= (9 if is_enough() else 90)

        await asyncio.gather(disturb(is_over), *(worker.run(is_over) for worker in workers))
        assert is_enough()

    asyncio.run(main())
    judgement = check(recorder.history(), KeyValue(), 2_000_000)
    assert judgement.verdict is Verdict.LINEARIZABLE, str(judgement)
