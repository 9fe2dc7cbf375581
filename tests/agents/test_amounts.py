"""Seconds and counts that are none: refused by the part of `Net` that was given them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from agents.amounts import LONGEST_S, MOST, millis, seconds, seconds_if_any, whole
from agents.errors import InvalidArguments
from agents.local import GateChannel
from agents.net import Net
from agents.task import Task, Tasks

NO_SECONDS = [math.nan, math.inf, -math.inf, 1e300, 10**400, "5", None, b"1", True, [1]]
NO_COUNTS = [math.nan, math.inf, 1.5, 10**400, "5", None, True, MOST + 1]


class NobodyAsks:
    """A gate through which nothing may come."""

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        raise AssertionError(operation)

    def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        raise AssertionError(operation)

    async def open(self, operation: str, params: Mapping[str, Any]) -> GateChannel:
        raise AssertionError(operation)


async def entered(manager: Any) -> None:
    async with manager:
        raise AssertionError("it was entered")


async def read(values: AsyncIterator[Any]) -> None:
    async for _ in values:
        raise AssertionError("it has begun")


async def begun(made: Callable[[], AsyncIterator[Any]]) -> None:
    await read(made())


def task_of(net: Net) -> Task:
    return Task(net._gate, "t1", "a.b")


async def held(made: Callable[[], Any]) -> None:
    await entered(made())


OF_SECONDS: dict[str, Callable[[Net, Any], Awaitable[Any]]] = {
    "call": lambda net, v: net.call("a.b", deadline=v),
    "send": lambda net, v: net.send("a.b", deadline=v),
    "broadcast": lambda net, v: net.broadcast("a.b", deadline=v, ack=True),
    "wait_for": lambda net, v: net.wait_for("a.b", timeout=v),
    "publish": lambda net, v: net.publish("a/b", 1, wait_subscribers=1, timeout=v),
    "wait_subscribers": lambda net, v: net.wait_subscribers("a/b", timeout=v),
    "submit lease": lambda net, v: net.submit("a.b", lease=v),
    "submit limit": lambda net, v: net.submit("a.b", limit=v),
    "submit timeout": lambda net, v: net.submit("a.b", timeout=v),
    "submit_many": lambda net, v: net.submit_many("a.b", [1], timeout=v),
    "put": lambda net, v: net.kv.put("a", 1, timeout=v),
    "get": lambda net, v: net.kv.get("a", timeout=v),
    "delete": lambda net, v: net.kv.delete("a", timeout=v),
    "lock": lambda net, v: held(lambda: net.lock("a", lease=v)),
    "leadership": lambda net, v: held(lambda: net.leadership("a", lease=v)),
    "cluster lease": lambda net, v: held(lambda: net.cluster("a", capability="a.b", lease=v)),
    "cluster timeout": lambda net, v: held(lambda: net.cluster("a", capability="a.b", timeout=v)),
    "decide": lambda net, v: net.decide("?", deadline=v),
    "bench": lambda net, v: begun(lambda: net.bench("a", seconds=v)),
    "wait_assigned": lambda net, v: task_of(net).wait_assigned(v),
}
OF_SECONDS_OR_NONE: dict[str, Callable[[Net, Any], Awaitable[Any]]] = {
    "attempt": lambda net, v: net.call("a.b", attempt=v),
    "stream": lambda net, v: begun(lambda: net.stream("a.b", deadline=v)),
    "open": lambda net, v: held(lambda: net.open("a.b", deadline=v)),
    "ttl": lambda net, v: net.kv.put("a", 1, ttl=v),
    "compare_set": lambda net, v: net.kv.compare_set("a", 1, version=1, ttl=v),
    "lock timeout": lambda net, v: held(lambda: net.lock("a", timeout=v)),
    "vote_deadline": lambda net, v: net.submit("a.b", policy="vote", vote_deadline=v),
    "result": lambda net, v: task_of(net).result(v),
    "results": lambda net, v: Tasks(net._gate, ["t1"], "a.b").results(v),
}
OF_COUNTS: dict[str, Callable[[Net, Any], Awaitable[Any]]] = {
    "retries": lambda net, v: net.submit("a.b", retries=v),
    "priority": lambda net, v: net.submit("a.b", priority=v),
    "subscribers": lambda net, v: net.wait_subscribers("a/b", v),
    "messages": lambda net, v: net.keep_history("a/b", messages=v),
    "max_bytes": lambda net, v: net.keep_history("a/b", max_bytes=v),
    "buffer": lambda net, v: held(lambda: net.subscribe("a/b", buffer=v)),
    "replay": lambda net, v: held(lambda: net.subscribe("a/b", replay=v)),
    "min_size": lambda net, v: held(lambda: net.cluster("a", capability="a.b", min_size=v)),
}


def refuses(ask: Callable[[Net, Any], Awaitable[Any]], value: object) -> None:
    async def scenario() -> None:
        net = Net(NobodyAsks(), "ada", "a" * 52)
        with pytest.raises(InvalidArguments, match="=") as refused:
            await ask(net, value)
        assert refused.value.definite

    asyncio.run(scenario())


@pytest.mark.parametrize("what", OF_SECONDS)
def test_what_is_no_length_of_time_is_refused_before_anybody_is_asked(what: str) -> None:
    for value in NO_SECONDS:
        refuses(OF_SECONDS[what], value)


@pytest.mark.parametrize("what", OF_SECONDS_OR_NONE)
def test_where_there_may_be_no_limit_everything_else_is_refused(what: str) -> None:
    for value in NO_SECONDS:
        if value is not None:
            refuses(OF_SECONDS_OR_NONE[what], value)


@pytest.mark.parametrize("what", OF_COUNTS)
def test_what_counts_nothing_is_refused_before_anybody_is_asked(what: str) -> None:
    for value in NO_COUNTS:
        refuses(OF_COUNTS[what], value)


def test_numbers_that_are_none_of_these_come_back_as_they_were_given() -> None:
    assert seconds("a", "b", 0.25) == 0.25
    assert seconds("a", "b", -1) == -1, "its owner says what that means"
    assert seconds("a", "b", LONGEST_S) == LONGEST_S
    assert seconds_if_any("a", "b", None) is None
    assert millis("a", "b", 0.25) == 250
    assert whole("a", "b", MOST) == MOST
    with pytest.raises(InvalidArguments, match="from 1 to"):
        whole("a", "b", 0, least=1)


def test_a_long_value_is_not_shown_at_its_length() -> None:
    with pytest.raises(InvalidArguments) as refused:
        seconds("a", "b", 10**400)
    assert len(str(refused.value)) < 120
