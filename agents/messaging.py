"""Calls and messages as a program sees them: the part of `Net` that reaches others' handlers.

What this module does not know: how the node chooses a provider, topics, tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

from agents.amounts import seconds, seconds_if_any
from agents.hosting.values import as_type, from_bytes, to_bytes
from agents.local import Gate, rebuild_error
from agents.names import seen_from, whoever_offers

DEFAULT_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a broadcast at one peer.

    Attributes:
        error: None where it was accepted; `error.definite` says whether it certainly was not.
    """

    peer: str
    name: str
    error: Exception | None


class Messaging:
    """Asks and tells whoever offers a capability.

    Args:
        namespace: where plain names of capabilities are looked up; empty for the default.
    """

    def __init__(self, gate: Gate, name: str, peer_id: str, namespace: str = "") -> None:
        self._gate = gate
        self._namespace = namespace
        self.name = name
        self.peer_id = peer_id

    async def call(
        self,
        capability: str,
        *args: Any,
        deadline: float = DEFAULT_DEADLINE_S,
        peer: str | None = None,
        returns: Any = None,
        balance: str = "",
        key: str | None = None,
        priority: str = "normal",
        attempt: float | None = None,
        among: Iterable[str] | None = None,
        named: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Ask whoever offers a capability, and return the answer.

        `math.add` is asked of any agent that offers it, `summer/math.add` of agents of that name.
        It is done at most once, unless all who offer it declare it idempotent: who refuses or is
        unreachable is passed over, but a call lost under way is made again only if idempotent.
        One mapping alone fills the handler's parameters by name, unless its only one takes it.

        Args:
            deadline: seconds for everything; the handler is cancelled when they have passed.
                Inside a handler no more than what it has left.
            peer: ask this one (name, id, or six or more characters of its start) and no other.
            returns: a type that the answer is validated as; plain data otherwise.
            balance: how to choose among those who offer it: `round_robin`, `weighted`,
                `least_outstanding`, `fastest` or `consistent_hash`; otherwise as they declare.
            key: with `consistent_hash`, the same key finds the same provider.
            priority: `low` leaves half of a handler's places free, `high` may take the last.
            attempt: seconds after which an idempotent capability is asked elsewhere.
            among: nobody but these peers, by id; without `peer`. Where we have not heard yet what
                any of them offers, they are asked one after another.
            named: more arguments by name, where the handler calls them like one of these options.

        Raises:
            NoProvider: nobody offers it.
            HandlerFailed: the handler raised; `remote_traceback` holds its words.
            BadRequest: the arguments do not fit the handler.
            DeadlineExceeded, ConnectionLost: it may have been done.
            PermissionDenied, Overloaded, PeerUnreachable, CircuitOpen: it was not done.
        """
        capability = seen_from(self._namespace, capability)
        params: dict[str, Any] = {
            "capability": capability,
            "message": to_bytes(
                [whoever_offers(capability), args, {**kwargs, **named} if named else kwargs]
            ),
            "timeout_s": seconds(capability, "deadline", deadline),
            "peer": peer,
        }
        if balance or key is not None or priority != "normal" or attempt is not None:
            attempt_s = seconds_if_any(capability, "attempt", attempt)
            options = {"balance": balance, "key": key, "priority": priority, "attempt_s": attempt_s}
            params["options"] = options
        if among is not None:
            params["among"] = list(among)
        value = from_bytes(await self._gate.request("call", params))
        return value if returns is None else as_type(value, returns)

    async def notify(
        self,
        capability: str,
        *args: Any,
        peer: str | None = None,
        balance: str = "",
        key: str | None = None,
        priority: str = "normal",
        named: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hand a message over and wait for nothing; it arrives at most once, or not at all.

        The receiver runs the handler in the background while it has places, and drops and counts
        the message otherwise. See `call` for the options.

        Raises:
            NoProvider, CircuitOpen, PeerUnreachable, QueueFull: it was not sent.
        """
        options = {"balance": balance, "key": key, "priority": priority}
        params = self._message(capability, args, kwargs, named, peer=peer, options=options)
        await self._gate.request("notify", params)

    async def send(
        self,
        capability: str,
        *args: Any,
        ack: bool = True,
        deadline: float = DEFAULT_DEADLINE_S,
        peer: str | None = None,
        balance: str = "",
        key: str | None = None,
        priority: str = "normal",
        named: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hand a message over and return when a provider has accepted it.

        Accepted means: we may ask for it, the arguments fit, the handler had a free place, and it
        runs once from then on, in the background; what it returns or raises is not told. While
        it is unknown whether it was accepted, the same message is repeated to the same peer until
        the deadline; however often it arrives, it is accepted at most once. Accepted is not
        stored: a receiver that dies in between does not finish it.

        Args:
            ack: False sends a notice instead, see `notify`.
            deadline: seconds for being accepted, 300 at most; the handler has no deadline.

        Raises:
            NoProvider, BadRequest, PermissionDenied, Overloaded, PeerUnreachable, CircuitOpen: it
                was not accepted, and will not be.
            DeadlineExceeded, ConnectionLost: it may have been accepted.
        """
        options = {"balance": balance, "key": key, "priority": priority}
        params = self._message(capability, args, kwargs, named, peer=peer, options=options)
        params["timeout_s"] = seconds(capability, "deadline", deadline)
        await self._gate.request("send" if ack else "notify", params)

    @overload
    async def broadcast(
        self,
        capability: str,
        *args: Any,
        everyone: bool = ...,
        ack: Literal[False] = ...,
        deadline: float = ...,
        priority: str = ...,
        named: Mapping[str, Any] | None = ...,
        **kwargs: Any,
    ) -> int: ...

    @overload
    async def broadcast(
        self,
        capability: str,
        *args: Any,
        everyone: bool = ...,
        ack: Literal[True],
        deadline: float = ...,
        priority: str = ...,
        named: Mapping[str, Any] | None = ...,
        **kwargs: Any,
    ) -> list[Delivery]: ...

    async def broadcast(
        self,
        capability: str,
        *args: Any,
        everyone: bool = False,
        ack: bool = False,
        deadline: float = DEFAULT_DEADLINE_S,
        priority: str = "normal",
        named: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> int | list[Delivery]:
        """Hand a message to all who offer a capability, this node among them.

        Args:
            everyone: to every living member, whether it offers the capability or not.
            ack: send it as `send` does, and return what became of it at each peer; otherwise as
                `notify` does, and return to how many it was sent.

        Raises:
            NoProvider: nobody offers it; not with `everyone`.
        """
        params = self._message(
            capability, args, kwargs, named, everyone=everyone, ack=ack, priority=priority
        )
        params["timeout_s"] = seconds(capability, "deadline", deadline)
        said = await self._gate.request("broadcast", params)
        if not ack:
            return int(said)
        return [
            Delivery(peer, name, rebuild_error(error) if error else None)
            for peer, name, error in said
        ]

    def _message(
        self,
        capability: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        named: Mapping[str, Any] | None,
        **more: Any,
    ) -> dict[str, Any]:
        capability = seen_from(self._namespace, capability)
        message = to_bytes([whoever_offers(capability), args, {**kwargs, **(named or {})}])
        return {"capability": capability, "message": message, **more}

    async def wait_for(self, capability: str, timeout: float = DEFAULT_DEADLINE_S) -> None:
        """Return as soon as somebody offers the capability.

        Raises:
            NoProvider: nobody does when the time is over; the text lists what is offered.
        """
        wait_s = seconds(capability, "timeout", timeout)
        params = {"capability": seen_from(self._namespace, capability), "timeout_s": wait_s}
        await self._gate.request("wait_for", params)
