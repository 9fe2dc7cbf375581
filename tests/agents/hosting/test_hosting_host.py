"""Which handler runs for whom, how many at once, and how errors leave."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hosting_lab import CALLER, CALLERS, call, call_as, context, hosting, incoming, run

from agents import Agent, BadAgent, Context, GiveUp
from agents.hosting import TaskGrant, from_bytes, to_bytes
from keys import Permission
from p2p import BadRequest, NoSuchMethod, Overloaded, PayloadError, PermissionDenied


def test_an_async_handler_runs_on_the_loop_and_a_plain_one_in_a_thread() -> None:
    agent = Agent("bench")

    @agent.serve("lab.here")
    async def here() -> int:
        return threading.get_ident()

    @agent.serve("lab.there")
    def there() -> int:
        return threading.get_ident()

    async def main() -> None:
        with hosting(agent) as host:
            assert await call(host, "lab.here") == threading.get_ident()
            assert await call(host, "lab.there") != threading.get_ident()

    run(main())


def test_a_handler_is_told_who_asks_and_under_which_lease() -> None:
    agent = Agent("bench")

    @agent.serve("lab.who")
    async def who(context: Context) -> list[object]:
        token = context.task.token if context.task else None
        return [context.caller, context.caller_name, context.capability, token]

    async def main() -> None:
        with hosting(agent) as host:
            assert await call(host, "lab.who") == [CALLER, "bob", "lab.who", None]
            grant = context("lab.who", task=TaskGrant("t" * 32, 42, 1))
            said = await host.run_task("lab.who", to_bytes([[], {}]), grant)
            assert from_bytes(said) == [CALLER, "bob", "lab.who", 42]

    run(main())


def test_more_callers_than_the_limit_are_refused_before_anything_runs() -> None:
    agent = Agent("bench")
    gate = asyncio.Event()

    @agent.serve("lab.hold", limit=2)
    async def hold() -> None:
        await gate.wait()

    async def main() -> None:
        with hosting(agent) as host:
            held = [asyncio.create_task(call(host, "lab.hold")) for _ in range(2)]
            while host.running < 2:
                await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="2 calls of it already run"):
                await call(host, "lab.hold")
            assert host.counts["overloaded"] == 1
            gate.set()
            await asyncio.gather(*held)
            await call(host, "lab.hold")
            assert host.running == 0

    run(main())


def test_a_handler_that_raises_gives_its_place_back() -> None:
    agent = Agent("bench")

    @agent.serve("lab.fail", limit=1)
    async def fail() -> None:
        raise LookupError("gone")

    async def main() -> None:
        with hosting(agent) as host:
            for _ in range(3):
                with pytest.raises(LookupError, match="gone"):
                    await call(host, "lab.fail")
            assert host.running == 0

    run(main())


def test_a_handler_cannot_end_the_process_of_all_agents() -> None:
    agent = Agent("bench")

    @agent.serve("lab.exit")
    async def leave() -> None:
        raise SystemExit(3)

    @agent.serve("lab.exit_in_a_thread")
    def leave_in_a_thread() -> None:
        raise SystemExit(3)

    async def main() -> None:
        with hosting(agent) as host:
            for capability in ("lab.exit", "lab.exit_in_a_thread"):
                with pytest.raises(RuntimeError, match="SystemExit"):
                    await call(host, capability)

    run(main())


def test_a_cancelled_call_keeps_the_place_of_its_thread_until_the_thread_ends() -> None:
    agent = Agent("bench")
    begun, go_on = threading.Event(), threading.Event()

    @agent.serve("lab.block", limit=1)
    def block() -> None:
        begun.set()
        go_on.wait(10)

    async def main() -> None:
        with hosting(agent) as host:
            task = asyncio.create_task(call(host, "lab.block"))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await call(host, "lab.block")
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert host.running == 0

    run(main())


def test_a_caller_without_the_permission_runs_nothing() -> None:
    agent = Agent("bench")
    ran = []

    @agent.serve("lab.drain", permission=Permission.NODE_DRAIN)
    async def drain() -> None:
        ran.append(1)

    async def main() -> None:
        with hosting(agent) as host:
            with pytest.raises(PermissionDenied, match="bob lacks the permission NODE_DRAIN"):
                await call(host, "lab.drain")
            allowed = incoming(CALLERS | Permission.NODE_DRAIN)
            await call_as(allowed, host, "lab.drain")

    run(main())
    assert ran == [1]


def test_what_is_not_offered_or_does_not_fit_is_refused_by_name() -> None:
    agent = Agent("bench")

    @agent.serve("lab.add")
    async def add(a: int, b: int) -> int:
        return a + b

    async def main() -> None:
        with hosting(agent) as host:
            with pytest.raises(NoSuchMethod, match=r"lab\.sub at ada"):
                await call(host, "lab.sub")
            with pytest.raises(BadRequest, match=r"lab\.add\(a: int, b: int\)"):
                await call(host, "lab.add", "one", 2)
            with pytest.raises(BadRequest, match=r"lab\.add\(a: int, b: int\)"):
                await host.run_task("lab.add", to_bytes([[1], {}]), context("lab.add"))
            assert host.counts["started"] == 0
            assert host.counts["invalid_arguments"] == 2

    run(main())


@pytest.mark.parametrize("payload", [b"", b"\xc1", to_bytes(7), to_bytes([1, 2]), to_bytes([[]])])
def test_bytes_that_are_no_arguments_are_a_bad_request(payload: bytes) -> None:
    agent = Agent("bench")

    @agent.serve("lab.add")
    async def add() -> None: ...

    async def main() -> None:
        with hosting(agent) as host, pytest.raises(BadRequest):
            await host.run_task("lab.add", payload, context("lab.add"))

    run(main())


def test_a_result_that_cannot_travel_names_the_capability_and_the_type() -> None:
    agent = Agent("bench")

    @agent.serve("lab.odd")
    async def odd() -> object:
        return {"a": threading.Lock()}

    async def main() -> None:
        with hosting(agent) as host, pytest.raises(PayloadError, match=r"lab\.odd.*lock"):
            await call(host, "lab.odd")

    run(main())


def test_agents_that_do_not_fit_together_are_refused() -> None:
    one, same, other = Agent("one"), Agent("one"), Agent("other")
    for agent in (one, other):
        agent.serve("lab.add")(lambda: None)
    for agents, word in (((one, same), "two agents are called 'one'"), ((one, other), "both")):
        with pytest.raises(BadAgent, match=word), hosting(*agents):
            pass


@pytest.mark.parametrize("name", ["", "No", "a b", "-a", "x" * 64, 7])
def test_names_that_agents_cannot_have(name: str) -> None:
    with pytest.raises(BadAgent, match="agent name"):
        Agent(name)


@pytest.mark.parametrize("capability", ["add", "", "Lab.add", "lab.", "lab..add", "a." * 70 + "b"])
def test_names_that_capabilities_cannot_have(capability: str) -> None:
    with pytest.raises(BadAgent, match="dotted lower case"):
        Agent("bench").serve(capability)


def test_capacity_and_second_handlers_are_checked_where_they_are_declared() -> None:
    for capacity in (0, -1, 1025):
        with pytest.raises(BadAgent, match="capacity"):
            Agent("bench", capacity=capacity)
    agent = Agent("bench")
    agent.serve("lab.add")(lambda: None)
    with pytest.raises(BadAgent, match="twice"):
        agent.serve("lab.add")(lambda: None)


def test_giving_up_passes_through_as_it_is() -> None:
    agent = Agent("bench")

    @agent.serve("lab.no")
    def no() -> None:
        raise GiveUp("never")

    async def main() -> None:
        with hosting(agent) as host, pytest.raises(GiveUp, match="never"):
            await host.run_task("lab.no", to_bytes([[], {}]), context("lab.no"))

    run(main())
