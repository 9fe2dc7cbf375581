"""Runs the handlers of this node's agents: for calls of other peers, and for tasks.

A handler has a number of places. Calls of low priority may take half of them, normal ones nine
tenths, those of high priority all; at least one each. Tasks take a place and are never refused:
what a node works on at once is the agents' capacity.

What this module does not know: who sends, how results travel, leases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any

from agents.errors import AgentClosed, BadAgent, InvalidArguments
from agents.health import Sample
from agents.hosting.channel import Channel
from agents.hosting.context import Context
from agents.hosting.deadline import Leash, running_leash
from agents.hosting.demand import Demand
from agents.hosting.handler import Handler
from agents.hosting.offer import Offer
from agents.hosting.tally import Occupancy, Tally
from agents.hosting.values import from_bytes, to_bytes
from keys import Permission, Principal, lacking
from p2p import BadRequest, Incoming, NoSuchMethod, Overloaded, PayloadError, PermissionDenied

MIN_THREADS = 4
STUCK_AFTER_MS = 5_000  # past its deadline, a handler counts as stuck
HIGH = 2  # of the priorities; what is no known one counts as normal
_CALL = int(Permission.CALL)
_TASKS_ONLY = "it is done as a task that was approved: net.submit(..., policy='vote')"

MakeContext = Callable[[Incoming, str], Context]


class Hosted:
    """A handler, the agent it belongs to, how many of it run, and what became of the others."""

    __slots__ = (
        "agent",
        "closed",
        "executor",
        "handler",
        "leashes",
        "mask",
        "occupancy",
        "places",
        "running",
        "tally",
    )

    def __init__(
        self, agent: str, handler: Handler, executor: ThreadPoolExecutor, occupancy: Occupancy
    ) -> None:
        self.agent = agent
        self.handler = handler
        self.executor = executor
        self.occupancy = occupancy
        self.mask = int(handler.permission)
        limit = handler.limit
        self.places = (max(1, limit // 2), max(1, limit - limit // 10), limit)
        self.running = 0
        self.closed = ""  # why it runs nothing now
        self.leashes: set[Leash] = set()
        self.tally = Tally()


class Accepted:
    """A call that was checked and has a place; it must be run, once."""

    __slots__ = ("arguments", "hosted", "incoming")

    def __init__(self, hosted: Hosted, arguments: dict[str, Any], incoming: Incoming) -> None:
        self.hosted = hosted
        self.arguments = arguments
        self.incoming = incoming


class AgentHost:
    """The agents of one node.

    Args:
        now_ms: a clock that does not go back.

    Attributes:
        on_denied: hears whose roles did not include what a handler asks for.

    Raises:
        BadAgent: two agents of one name, or two of them for one capability.
    """

    def __init__(self, offers: Iterable[Offer], node_name: str, now_ms: Callable[[], int]) -> None:
        self.offers = tuple(offers)
        self._node_name = node_name
        self._now_ms = now_ms
        self._occupancies: dict[str, Occupancy] = {}
        self._hosted: dict[str, Hosted] = {}
        self.counts: Counter[str] = Counter()
        self.on_denied: Callable[[Principal, str], None] = lambda who, capability: None
        self._executors: list[ThreadPoolExecutor] = []
        self._closed: dict[str, dict[str, str]] = {}
        names: set[str] = set()
        for offer in self.offers:
            if offer.name in names:
                raise BadAgent(f"two agents are called {offer.name!r}; names differ in a node")
            names.add(offer.name)
            self._add(offer)

    def _add(self, offer: Offer) -> None:
        executor = self._executor_of(offer)
        occupancy = self._occupancies[offer.name] = Occupancy()
        for capability, handler in offer.handlers.items():
            if capability in self._hosted:
                other = self._hosted[capability].agent
                raise BadAgent(f"agents {other} and {offer.name} both serve {capability}")
            self._hosted[capability] = Hosted(offer.name, handler, executor, occupancy)

    def _executor_of(self, offer: Offer) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(max_workers=_threads_of(offer), thread_name_prefix=offer.name)
        self._executors.append(executor)
        return executor

    # -- agents as a whole ---------------------------------------------------------------------

    def close_agent(self, name: str, by: str, why: str) -> None:
        """Run nothing new of an agent until whoever closes it opens it again."""
        self._closed.setdefault(name, {})[by] = why
        self._mark(name)

    def open_agent(self, name: str, by: str) -> None:
        """Take back what `close_agent` did; nothing if it did nothing."""
        self._closed.get(name, {}).pop(by, None)
        self._mark(name)

    def why_closed(self, name: str) -> str:
        """Why an agent runs nothing now; empty if it does."""
        return "; ".join(self._closed.get(name, {}).values())

    def _mark(self, name: str) -> None:
        why = self.why_closed(name)
        for hosted in self._hosted.values():
            if hosted.agent == name:
                hosted.closed = why

    def renew_threads(self, offer: Offer) -> None:
        """Give an agent new threads; those that are stuck in the old ones keep them alone."""
        executor = self._executor_of(offer)
        for hosted in self._hosted.values():
            if hosted.agent == offer.name:
                self._drop(hosted.executor)
                hosted.executor = executor
                hosted.leashes.clear()

    def _drop(self, executor: ThreadPoolExecutor) -> None:
        if executor in self._executors:
            self._executors.remove(executor)
            executor.shutdown(wait=False)  # what it was given is still run

    def sample(self, offer: Offer, now_ms: int, lag_ms: int) -> Sample:
        """Return what is seen of an agent now."""
        all_ = [hosted for hosted in self._hosted.values() if hosted.agent == offer.name]
        late_ms = now_ms - STUCK_AFTER_MS
        return Sample(
            ended=sum(sum(hosted.tally.buckets) for hosted in all_),
            failed=sum(hosted.tally.failed for hosted in all_),
            busy_permille=max((1000 * h.running // h.handler.limit for h in all_), default=0),
            stuck=sum(
                leash.deadline_ms is not None and leash.deadline_ms < late_ms
                for hosted in all_
                for leash in hosted.leashes
            ),
            threads=_threads_of(offer),
            lag_ms=lag_ms,
        )

    def occupied_ms(self) -> dict[str, int]:
        """Return how long the executions of each agent took together until now."""
        now_ms = self._now_ms()
        return {name: used.total_ms(now_ms) for name, used in self._occupancies.items()}

    # -- capabilities --------------------------------------------------------------------------

    def agent_of(self, capability: str) -> str | None:
        hosted = self._hosted.get(capability)
        return hosted.agent if hosted is not None else None

    def permission_of(self, capability: str) -> Permission:
        """What its handler asks of callers; `CALL` of an unknown one, which nobody runs."""
        hosted = self._hosted.get(capability)
        return hosted.handler.permission if hosted is not None else Permission.CALL

    def demand_of(self, capability: str) -> Demand | None:
        """Whose approval its handler asks for."""
        hosted = self._hosted.get(capability)
        return hosted.handler.terms.demand if hosted is not None else None

    @property
    def running(self) -> int:
        return sum(hosted.running for hosted in self._hosted.values())

    def figures(self) -> list[dict[str, Any]]:
        """Return what became of the calls and tasks of each capability, as plain data."""
        return [
            {
                "capability": capability,
                "agent": hosted.agent,
                "running": hosted.running,
                "limit": hosted.handler.limit,
                **hosted.tally.figures(),
            }
            for capability, hosted in sorted(self._hosted.items())
        ]

    def accept(
        self,
        capability: str,
        args: list[Any],
        kwargs: dict[Any, Any],
        incoming: Incoming,
        *,
        is_streamed: bool = False,
    ) -> Accepted:
        """Check a call and give it a place, which `run` or `stream` gives back.

        Raises:
            NoSuchMethod, PermissionDenied, BadRequest, Overloaded: nothing runs.
        """
        hosted = self._hosted.get(capability)
        if hosted is None:
            raise NoSuchMethod(self._node_name, capability, "it is not offered here")
        if hosted.closed:
            hosted.tally.refused += 1
            raise NoSuchMethod(self._node_name, capability, hosted.closed)
        if hosted.mask != _CALL:  # that one was asked for where the call came in
            self._check_permission(hosted, incoming)
        if hosted.handler.is_streamed is not is_streamed:
            raise self._other_kind(hosted)
        if hosted.handler.terms.demand is not None:
            hosted.tally.refused += 1
            raise BadRequest(self._node_name, capability, _TASKS_ONLY)
        arguments = self._bind(hosted, args, kwargs)
        priority = incoming.priority
        places = hosted.places[priority if 0 <= priority <= HIGH else 1]
        if hosted.running >= places:
            self.counts["overloaded"] += 1
            hosted.tally.refused += 1
            raise Overloaded(self._node_name, capability, _no_place(hosted))
        hosted.running += 1
        return Accepted(hosted, arguments, incoming)

    async def run(self, accepted: Accepted, make_context: MakeContext) -> Any:
        """Run what was accepted and return what the handler returns; its place is free then.

        Raises:
            Exception: whatever the handler raises.
        """
        hosted, incoming = accepted.hosted, accepted.incoming
        try:
            handler = hosted.handler
            context = make_context(incoming, handler.capability) if handler.wants_context else None
            return await self._run(hosted, accepted.arguments, context, incoming.deadline_ms)
        finally:
            hosted.running -= 1

    def give_back(self, accepted: Accepted) -> None:
        """Free the place of what was accepted and is not run after all."""
        accepted.hosted.running -= 1

    async def stream(self, accepted: Accepted, make_context: MakeContext, channel: Channel) -> None:
        """Run what was accepted as a stream, until the handler has ended; its place is free then.

        Raises:
            Exception: whatever the handler raises.
        """
        hosted, incoming = accepted.hosted, accepted.incoming
        try:
            context = make_context(incoming, hosted.handler.capability)
            arguments, deadline_ms = accepted.arguments, incoming.deadline_ms
            await self._run(hosted, arguments, context, deadline_ms, channel)
        finally:
            hosted.running -= 1

    async def run_call(
        self,
        capability: str,
        args: list[Any],
        kwargs: dict[Any, Any],
        incoming: Incoming,
        make_context: MakeContext,
    ) -> bytes:
        """Run a call and return its encoded result.

        Raises:
            NoSuchMethod, PermissionDenied, BadRequest, Overloaded: nothing was run.
            Exception: whatever the handler raises, or `PayloadError` when its result cannot travel.
        """
        accepted = self.accept(capability, args, kwargs, incoming)
        return _encoded(await self.run(accepted, make_context), capability)

    async def run_task(self, skill: str, payload: bytes, context: Context) -> bytes:
        """Run a task's payload and return its encoded result.

        Raises:
            NoSuchMethod, BadRequest: no retry here will help.
            AgentClosed: another try may.
            Exception: whatever the handler raises.
        """
        hosted = self._hosted.get(skill)
        if hosted is None:
            raise NoSuchMethod(self._node_name, skill, "it is not offered here")
        if hosted.closed:
            raise AgentClosed(hosted.agent, hosted.closed)
        if hosted.handler.is_streamed:
            raise self._other_kind(hosted)
        arguments = self._bind(hosted, *read_arguments(payload, self._node_name, skill))
        hosted.running += 1
        try:
            result = await self._run(hosted, arguments, context, context.deadline_ms)
        finally:
            hosted.running -= 1
        return _encoded(result, skill)

    def close(self) -> None:
        """Let the threads go; those that are in a handler end with the process."""
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)

    def _other_kind(self, hosted: Hosted) -> BadRequest:
        hosted.tally.refused += 1
        handler = hosted.handler
        return BadRequest(self._node_name, handler.capability, f"it {handler.kind.advice}")

    def _check_permission(self, hosted: Hosted, incoming: Incoming) -> None:
        missing = hosted.handler.permission & ~incoming.caller.permissions
        if missing:
            hosted.tally.refused += 1
            self.on_denied(incoming.caller, hosted.handler.capability)
            raise PermissionDenied(
                self._node_name,
                hosted.handler.capability,
                lacking(incoming.caller.name, missing),
            )

    def _bind(self, hosted: Hosted, args: list[Any], kwargs: dict[Any, Any]) -> dict[str, Any]:
        try:
            return hosted.handler.bind(args, kwargs)
        except InvalidArguments as error:
            self.counts["invalid_arguments"] += 1
            hosted.tally.refused += 1
            raise BadRequest(self._node_name, hosted.handler.capability, str(error)) from None

    async def _run(
        self,
        hosted: Hosted,
        arguments: dict[str, Any],
        context: Context | None,
        deadline_ms: int | None,
        channel: Channel | None = None,
    ) -> Any:
        self.counts["started"] += 1
        leash = Leash(deadline_ms)
        token = running_leash.set(leash)
        hosted.leashes.add(leash)
        began_ms = self._now_ms()
        hosted.occupancy.begin(began_ms)
        began_ns = perf_counter_ns()
        try:
            if channel is not None:
                return await hosted.handler.stream(arguments, context, channel)
            return await hosted.handler.run(arguments, context, hosted.executor)
        except BaseException:
            hosted.tally.failed += 1
            raise
        finally:
            hosted.tally.ended(perf_counter_ns() - began_ns)
            hosted.occupancy.end(began_ms, self._now_ms())
            hosted.leashes.discard(leash)
            leash.deadline_ms = None
            running_leash.reset(token)


def read_arguments(payload: bytes, where: str, what: str) -> tuple[list[Any], dict[Any, Any]]:
    """Return the arguments in a task's payload: `[positional, by name]`.

    Raises:
        BadRequest: it holds something else.
    """
    try:
        value = from_bytes(payload)
    except PayloadError as error:
        raise BadRequest(where, what, str(error)) from None
    if (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], list)
        and isinstance(value[1], dict)
    ):
        return value[0], value[1]
    raise BadRequest(where, what, "arguments are [positional, by name]")


def _threads_of(offer: Offer) -> int:
    return max(MIN_THREADS, offer.capacity)


def _no_place(hosted: Hosted) -> str:
    limit = hosted.handler.limit
    kept = "" if hosted.running >= limit else "; the rest is kept for higher priorities"
    return f"{hosted.running} calls of it already run, and {limit} may{kept}"


def _encoded(result: Any, capability: str) -> bytes:
    try:
        return to_bytes(result)
    except PayloadError as error:
        raise PayloadError(f"the result of {capability}: {error}") from None
