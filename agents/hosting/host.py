"""Runs the handlers of this node's agents: for calls of other peers, and for tasks.

What this module does not know: who sends, how results travel, leases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from agents.errors import BadAgent, InvalidArguments
from agents.hosting.context import Context
from agents.hosting.handler import Handler
from agents.hosting.offer import Offer
from agents.hosting.values import from_bytes, to_bytes
from keys import Permission
from p2p import BadRequest, NoSuchMethod, Overloaded, PayloadError, PermissionDenied

MIN_THREADS = 4


class Hosted(NamedTuple):
    """A handler and the agent it belongs to."""

    agent: str
    handler: Handler
    executor: ThreadPoolExecutor


class AgentHost:
    """The agents of one node.

    Raises:
        BadAgent: two agents of one name, or two of them for one capability.
    """

    def __init__(self, offers: Iterable[Offer], node_name: str) -> None:
        self.offers = tuple(offers)
        self._node_name = node_name
        self._hosted: dict[str, Hosted] = {}
        self._running: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._executors: list[ThreadPoolExecutor] = []
        names: set[str] = set()
        for offer in self.offers:
            if offer.name in names:
                raise BadAgent(f"two agents are called {offer.name!r}; names differ in a node")
            names.add(offer.name)
            self._add(offer)

    def _add(self, offer: Offer) -> None:
        executor = ThreadPoolExecutor(
            max_workers=max(MIN_THREADS, offer.capacity), thread_name_prefix=offer.name
        )
        self._executors.append(executor)
        for capability, handler in offer.handlers.items():
            if capability in self._hosted:
                other = self._hosted[capability].agent
                raise BadAgent(f"agents {other} and {offer.name} both serve {capability}")
            self._hosted[capability] = Hosted(offer.name, handler, executor)

    def agent_of(self, capability: str) -> str | None:
        hosted = self._hosted.get(capability)
        return hosted.agent if hosted is not None else None

    @property
    def running(self) -> int:
        return sum(self._running.values())

    async def run_call(
        self, capability: str, payload: bytes, context: Context, permissions: Permission
    ) -> bytes:
        """Run a call and return its encoded result.

        Raises:
            NoSuchMethod, PermissionDenied, BadRequest, Overloaded: nothing was run.
            Exception: whatever the handler raises, or `PayloadError` when its result cannot travel.
        """
        hosted = self._hosted.get(capability)
        if hosted is None:
            raise NoSuchMethod(self._node_name, capability, "it is not offered here any more")
        missing = hosted.handler.permission & ~permissions
        if missing:
            raise PermissionDenied(
                self._node_name,
                capability,
                f"{context.caller_name} lacks the permission {missing.name}",
            )
        args, kwargs = read_arguments(payload, self._node_name, capability)
        arguments = self._bind(hosted, args, kwargs)
        if self._running[capability] >= hosted.handler.limit:
            self.counts["overloaded"] += 1
            raise Overloaded(
                self._node_name, capability, f"{hosted.handler.limit} calls of it already run"
            )
        return await self._run(hosted, arguments, context)

    async def run_task(self, skill: str, payload: bytes, context: Context) -> bytes:
        """Run a task's payload and return its encoded result.

        Raises:
            NoSuchMethod, BadRequest: no retry here will help.
            Exception: whatever the handler raises.
        """
        hosted = self._hosted.get(skill)
        if hosted is None:
            raise NoSuchMethod(self._node_name, skill, "it is not offered here any more")
        args, kwargs = read_arguments(payload, self._node_name, skill)
        return await self._run(hosted, self._bind(hosted, args, kwargs), context)

    def close(self) -> None:
        """Let the threads go; those that are in a handler end with the process."""
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)

    def _bind(self, hosted: Hosted, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return hosted.handler.bind(args, kwargs)
        except InvalidArguments as error:
            self.counts["invalid_arguments"] += 1
            raise BadRequest(self._node_name, hosted.handler.capability, str(error)) from None

    async def _run(self, hosted: Hosted, arguments: dict[str, Any], context: Context) -> bytes:
        capability = hosted.handler.capability
        self._running[capability] += 1
        self.counts["started"] += 1
        try:
            result = await hosted.handler.run(arguments, context, hosted.executor)
        finally:
            self._running[capability] -= 1
        try:
            return to_bytes(result)
        except PayloadError as error:
            raise PayloadError(f"the result of {capability}: {error}") from None


def read_arguments(payload: bytes, where: str, what: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments in a payload: `[positional, by name]`.

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
