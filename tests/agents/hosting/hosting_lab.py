"""A host of agents, and calls to it without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from agents import Agent, Net
from agents.hosting import Context, TaskGrant, from_bytes, to_bytes
from agents.hosting.host import AgentHost
from agents.local import DirectGate, Table
from keys import Above, Identity, PeerId, Permission, Principal, Role, network_id_of
from p2p import Incoming, SystemClock

T = TypeVar("T")
CALLER: PeerId = Identity.from_secret(bytes(32)).peer_id
CALLERS = Permission.CALL | Permission.SUBSCRIBE


def run(body: Coroutine[Any, Any, T]) -> T:
    async def main() -> T:
        async with asyncio.timeout(10):
            return await body

    return asyncio.run(main())


@contextmanager
def hosting(*agents: Agent) -> Iterator[AgentHost]:
    host = AgentHost(agents, "ada", lambda: 0)
    try:
        yield host
    finally:
        host.close()


def context(
    capability: str, deadline_ms: int | None = None, task: TaskGrant | None = None
) -> Context:
    gate = DirectGate(Table({}, {}, {}))
    net = Net(gate, "ada", CALLER)
    clock = SystemClock()
    return Context(CALLER, "bob", capability, "bench", deadline_ms, None, net, clock, task)


def incoming(permissions: Permission = CALLERS, priority: int = 1) -> Incoming:
    """A call of bob's."""
    network = network_id_of(bytes(32))
    bob = Principal(
        peer_id=CALLER,
        name="bob",
        public_key=bytes(32),
        roles=Role.SERVICE,
        permissions=permissions,
        namespaces=(),
        serial=bytes(16),
        certificate_digest=bytes(32),
        not_after_ms=2**60,
        above=Above(network, "lab", bytes(16), bytes(16)),
    )
    return Incoming(bob, "agents.call", None, b"", priority)


async def call_as(
    asked: Incoming, host: AgentHost, capability: str, *args: Any, **named: Any
) -> Any:
    """Call as this peer; returns plain data."""
    plain_args, plain_named = from_bytes(to_bytes([args, named]))
    return from_bytes(
        await host.run_call(
            capability, plain_args, plain_named, asked, lambda _, name: context(name)
        )
    )


async def call(host: AgentHost, capability: str, *args: Any, **named: Any) -> Any:
    """Call as a peer may; returns plain data."""
    return await call_as(incoming(), host, capability, *args, **named)
