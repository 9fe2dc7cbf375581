"""One handler: a function, what its arguments must be, and how it is run.

Arguments are validated where they arrive, against the function's own annotations. An `async`
function runs on the loop; a plain one in a thread, so it may block. An async generator answers
with a stream of values, and a function that takes a `Channel` with a conversation.

What this module does not know: the network, tasks, other handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from enum import StrEnum
from typing import Any, NamedTuple

from agents.errors import BadAgent, InvalidArguments
from agents.hosting.arguments import Arguments
from agents.hosting.channel import Channel
from agents.hosting.context import Context
from agents.hosting.demand import Demand
from agents.hosting.values import explain, is_model
from keys import Permission

_UNNAMED = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.POSITIONAL_ONLY,
)


class Kind(StrEnum):
    """How a capability answers, and so how it is asked."""

    CALL = "call"
    STREAM = "stream"  # values, one after the other
    CHANNEL = "channel"  # values in both directions

    @property
    def advice(self) -> str:
        """How it is to be asked."""
        return _ADVICE[self]


_ADVICE = {
    Kind.CALL: "is answered at once; use net.call() or a task",
    Kind.STREAM: "answers with a stream; use net.stream(), or `conclave call --stream`",
    Kind.CHANNEL: "is a conversation; use net.open()",
}


class Terms(NamedTuple):
    """What a provider says to those who choose among providers.

    Attributes:
        balance: the balancer that callers should use, or empty for the default.
        weight: its share of calls against other providers', for `weighted`.
        is_idempotent: running it twice for one call does no harm.
        demand: whose approval it asks for; it does tasks only then, and answers no calls.
    """

    balance: str = ""
    weight: int = 1
    is_idempotent: bool = False
    demand: Demand | None = None


class Handler:
    """A function that serves a capability.

    Args:
        capability: its name on the network, such as `math.add`.
        function: async, or plain (runs in a thread).
        permission: what a caller must hold.
        limit: how many of it run at once; more callers get `Overloaded`.
        terms: what callers should know when they choose among providers.

    Raises:
        BadAgent: its signature cannot be served.
    """

    def __init__(
        self,
        capability: str,
        function: Callable[..., Any],
        *,
        permission: Permission,
        limit: int,
        terms: Terms | None = None,
    ) -> None:
        self.capability = capability
        self.function = function
        self.permission = permission
        self.limit = limit
        self.terms = terms or Terms()
        self.is_async = inspect.iscoroutinefunction(function)
        self._signature, self._context_name, self._channel_name = _signature_of(
            capability, function
        )
        self.kind = _kind_of(capability, function, self._channel_name)
        self.is_streamed = self.kind is not Kind.CALL
        if self.is_streamed and self.terms.demand is not None:
            raise BadAgent(f"{capability}: it answers with a stream, and only tasks are approved")
        self.summary = (inspect.getdoc(function) or "").partition("\n")[0]
        self.wants_context = self._context_name is not None
        self._arguments = Arguments(capability, self._signature)
        self._names = tuple(self._signature.parameters)
        self._least = _least_positional(self._signature)

    def usage(self) -> str:
        """Return the signature as a caller sees it: `math.add(a: float, b: float)`."""
        shown = [str(p).replace("typing.", "") for p in self._signature.parameters.values()]
        return f"{self.capability}({', '.join(shown)})"

    def bind(self, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return validated arguments by name.

        One mapping as the only argument fills the parameters by name, unless the function has a
        single parameter that takes the mapping itself: so a JSON object is a natural task payload.

        Raises:
            InvalidArguments: they do not fit; the text says what is wanted.
        """
        bound = self._arrange(args, kwargs)
        try:
            return self._arguments.fit(bound)
        except ValueError as error:
            raise InvalidArguments(self.usage(), explain(error)) from None

    async def run(
        self, arguments: dict[str, Any], context: Context | None, executor: Executor
    ) -> Any:
        """Run it and return what it returns; whatever it raises passes through.

        Raises:
            RuntimeError: it tried to end the process, which is not its own.
        """
        if self._context_name is not None:
            arguments = {self._context_name: context, **arguments}
        try:
            return await self._call(arguments, executor)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _would_end_the_node(error) from error

    async def stream(
        self, arguments: dict[str, Any], context: Context | None, channel: Channel
    ) -> None:
        """Run one that answers with a stream, on a channel to who asked.

        Raises:
            as `run`.
        """
        if self._context_name is not None:
            arguments = {self._context_name: context, **arguments}
        if self._channel_name is not None:
            arguments = {self._channel_name: channel, **arguments}
        try:
            if self.kind is Kind.CHANNEL:
                await self.function(**arguments)
                return
            async with contextlib.aclosing(self.function(**arguments)) as values:
                async for value in values:
                    await channel.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _would_end_the_node(error) from error

    async def _call(self, arguments: dict[str, Any], executor: Executor) -> Any:
        if self.is_async:
            return await self.function(**arguments)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(executor, lambda: self.function(**arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A thread cannot be stopped; its place is not free before it has ended.
            await asyncio.wait([running])
            raise

    def _arrange(self, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) == 1 and not kwargs and isinstance(args[0], dict):
            named = {str(k): v for k, v in args[0].items()}
            if not self._takes_mapping():
                args, kwargs = [], named
        elif not kwargs and self._least <= len(args) <= len(self._names):
            return dict(zip(self._names, args, strict=False))  # the usual case, without `bind`
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(self.usage(), str(error)) from None
        return dict(bound.arguments)

    def _takes_mapping(self) -> bool:
        parameters = list(self._signature.parameters.values())
        return len(parameters) == 1 and _may_be_mapping(parameters[0].annotation)


def _may_be_mapping(wanted: object) -> bool:
    """Whether what an annotation takes can be given as one mapping."""
    if wanted in (inspect.Parameter.empty, Any, object):
        return True
    origin = typing.get_origin(wanted) or wanted
    if origin in (typing.Union, types.UnionType):
        return any(map(_may_be_mapping, typing.get_args(wanted)))
    if origin is typing.Annotated:
        return _may_be_mapping(typing.get_args(wanted)[0])
    return isinstance(origin, type) and (
        issubclass(origin, Mapping) or is_model(origin) or hasattr(origin, "__dataclass_fields__")
    )


def _would_end_the_node(error: BaseException) -> RuntimeError:
    return RuntimeError(
        f"the handler raised {type(error).__name__}, which would end the node of all agents"
    )


def _kind_of(capability: str, function: Callable[..., Any], channel_name: str | None) -> Kind:
    if inspect.isasyncgenfunction(function):
        if channel_name is not None:
            raise BadAgent(
                f"{capability}: {function.__name__} takes a Channel and yields; send what it "
                "yields on the channel, or leave the channel out"
            )
        return Kind.STREAM
    if inspect.isgeneratorfunction(function):
        raise BadAgent(
            f"{capability}: {function.__name__} is a plain generator; make it `async def`, so "
            "that the node can wait for whoever reads it"
        )
    if channel_name is None:
        return Kind.CALL
    if not inspect.iscoroutinefunction(function):
        raise BadAgent(f"{capability}: {function.__name__} takes a Channel; make it `async def`")
    return Kind.CHANNEL


def _signature_of(
    capability: str, function: Callable[..., Any]
) -> tuple[inspect.Signature, str | None, str | None]:
    """Return the signature, annotations resolved, without the parameters that the node fills, and
    their names: of the context and of the channel."""
    signature = inspect.signature(function)
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise BadAgent(
            f"{capability}: an annotation of {function.__name__} names {error.name!r}, "
            "which is not known where the function is defined"
        ) from None
    parameters: list[inspect.Parameter] = []
    context_name: str | None = None
    channel_name: str | None = None
    for name, parameter in signature.parameters.items():
        annotation = hints.get(name, parameter.annotation)
        if parameter.kind in _UNNAMED:
            raise BadAgent(
                f"{capability}: {function.__name__} takes "
                f"`{parameter.replace(annotation=annotation)}` without a name of its "
                "own; name each argument, so that callers can be told what is missing"
            )
        if annotation is Context:
            context_name = name
        elif annotation is Channel:
            channel_name = name
        else:
            parameters.append(parameter.replace(annotation=annotation))
    return signature.replace(parameters=parameters), context_name, channel_name


def _least_positional(signature: inspect.Signature) -> int:
    """Return how many arguments by position suffice; too many where some go by name only."""
    parameters = signature.parameters.values()
    if any(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters):
        return len(parameters) + 1
    return sum(p.default is inspect.Parameter.empty for p in parameters)
