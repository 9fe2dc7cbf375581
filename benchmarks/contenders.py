"""Pairs and crowds of processes that do the same work by different means, ready to be alternated.

Each contender is what a measurement calls it in its figures, and a client (or a publisher with its
subscribers) that waits for orders. Rivals that are not installed are left out with a word.

What this module does not know: which workloads there are and how they are judged.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.certificates import certificates
from benchmarks.nodes import Network
from benchmarks.pace import pace
from benchmarks.workers import Worker

T = TypeVar("T")

OURS = "Conclave"
CAPPED = "the capped coalescing reader"
COALESCED = "coalesced publications"
ONE_WAY = "coalesced one-way"
BARE = "the FD reader"
RAW = "raw CURVE"
GRPC = "gRPC"
NATS = "NATS"

MEMBERS = "benchmarks.ours.members"
_BLOCKING = "benchmarks.floors.blocking"
_COALESCING = "benchmarks.floors.coalescing"
_GRPC = "benchmarks.rivals.grpc_calls"
_NATS = "benchmarks.rivals.nats_messages"


class NotThere(Exception):
    """Something that a measurement needs is not installed, or not built yet."""


@dataclass(slots=True)
class Pair:
    """A server and a client; `words` are what the client's orders need to find the server."""

    server: Worker
    client: Worker
    words: dict[str, Any] = field(default_factory=dict)

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Order the client about."""
        return self.client.ask(do, **self.words, **words)


@dataclass(slots=True)
class Crowd:
    """A publisher and its subscribers."""

    publisher: Worker
    subscribers: Sequence[Worker]

    def deliver(self, count: int, bytes_: int) -> tuple[float, int]:
        """Publish so many; return the deliveries a second in all subscribers, and the loss."""
        for subscriber in self.subscribers:
            subscriber.order("take", count=count)
        began = self.publisher.ask("publish", count=count, bytes_=bytes_)
        ends = [subscriber.answer() for subscriber in self.subscribers]
        lasted_s = max(end["ended_s"] for end in ends) - began["began_s"]
        return sum(end["got"] for end in ends) / lasted_s, sum(end["lost"] for end in ends)


def skipped(what: str, why: object) -> None:
    """Say that something is left out."""
    print(f"\n  ({what} is left out: {why})", file=sys.stderr, flush=True)


def alternate(runs: Mapping[str, Callable[[], T]], rounds: int = 0) -> dict[str, list[T]]:
    """Give each contender its turn, round by round; return what each came to."""
    results: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(rounds or pace().rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


@contextmanager
def members(count: int) -> Iterator[list[Worker]]:
    """Peers of one new network, each in a process, all of whom have met."""
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(count))
        first = stack.enter_context(Worker(MEMBERS, str(homes[0])))
        peers = [first]
        for home in homes[1:]:
            peers.append(stack.enter_context(Worker(MEMBERS, str(home), first.ready["door"])))
        ids = [peer.ready["peer"] for peer in peers]
        for peer in peers:
            peer.ask("meet", peers=[i for i in ids if i != peer.ready["peer"]])
        yield peers


@contextmanager
def homes_of(count: int) -> Iterator[list[Path]]:
    """The directories of so many members of one new network."""
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
        voters = 3 if count >= 3 else 1
        yield [node.home for node in Network(Path(directory), count, voters).nodes]


def our_pair(stack: ExitStack) -> Pair:
    server, client = stack.enter_context(members(2))
    return Pair(server, client, {"to": server.ready["peer"]})


def our_stream_pair(stack: ExitStack) -> Pair:
    """Raises NotThere while there are no streams."""
    pair = our_pair(stack)
    if "serve_stream" not in pair.client.ready["able"]:
        raise NotThere("there are no streams yet")
    return pair


def reader_pair(stack: ExitStack, at_most: int) -> Pair:
    """The bare reader; `at_most` envelopes in a message."""
    return _curve_pair(stack, _COALESCING, ("echo-server", "echo-client"), str(at_most))


MakePair = Callable[[ExitStack], Pair]


def blocking_pair(stack: ExitStack, server: str, client: str) -> Pair:
    return _curve_pair(stack, _BLOCKING, (server, client))


def _curve_pair(stack: ExitStack, module: str, roles: tuple[str, str], *words: str) -> Pair:
    server = stack.enter_context(Worker(module, roles[0], *words))
    said = server.ready
    client = Worker(module, roles[1], *words, said["endpoint"], said["key"])
    return Pair(server, stack.enter_context(client))


def grpc_pair(stack: ExitStack) -> Pair:
    """Raises NotThere without grpcio and trustme."""
    _need("grpc", "trustme")
    pems = str(stack.enter_context(certificates()))
    server = stack.enter_context(Worker(_GRPC, "server", pems))
    client = Worker(_GRPC, "client", pems, str(server.ready["port"]))
    return Pair(server, stack.enter_context(client))


def nats_pair(stack: ExitStack) -> Pair:
    """Raises NotThere without nats-server, nats-py and trustme."""
    words = _nats(stack)
    server = stack.enter_context(Worker(_NATS, "echo-server", *words))
    return Pair(server, stack.enter_context(Worker(_NATS, "echo-client", *words)))


def _nats(stack: ExitStack) -> tuple[str, str]:
    _need("nats", "trustme")
    if shutil.which("nats-server") is None:
        raise NotThere("there is no nats-server on the PATH")
    from benchmarks.rivals.nats_messages import nats_server

    pems = stack.enter_context(certificates())
    return str(pems), str(stack.enter_context(nats_server(pems)))


def _need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise NotThere(f"{module} is not installed")


def our_crowd(stack: ExitStack, subscribers: int) -> Crowd:
    """Raises NotThere while publishing cannot wait for room."""
    publisher, *others = stack.enter_context(members(1 + subscribers))
    if "room_to_publish" not in publisher.ready["able"]:
        raise NotThere("publishing cannot wait for room yet")
    for other in others:
        other.ask("subscribe")
    publisher.ask("wait_subscribers", count=subscribers)
    return Crowd(publisher, others)


def coalesced_crowd(stack: ExitStack, subscribers: int) -> Crowd:
    return _curve_crowd(stack, _COALESCING, subscribers)


def blocking_crowd(stack: ExitStack, subscribers: int) -> Crowd:
    return _curve_crowd(stack, _BLOCKING, subscribers)


def _curve_crowd(stack: ExitStack, module: str, subscribers: int) -> Crowd:
    publisher = stack.enter_context(Worker(module, "publisher"))
    said = publisher.ready
    return _crowd(stack, publisher, module, (said["endpoint"], said["key"]), subscribers)


def nats_crowd(stack: ExitStack, subscribers: int) -> Crowd:
    """Raises NotThere as `nats_pair` does."""
    words = _nats(stack)
    publisher = stack.enter_context(Worker(_NATS, "publisher", *words))
    return _crowd(stack, publisher, _NATS, words, subscribers)


def _crowd(
    stack: ExitStack, publisher: Worker, module: str, words: tuple[str, str], count: int
) -> Crowd:
    others = [stack.enter_context(Worker(module, "subscriber", *words)) for _ in range(count)]
    publisher.ask("wait_subscribers", count=count)
    return Crowd(publisher, others)


def present(stack: ExitStack, made: Mapping[str, Callable[[ExitStack], T]]) -> dict[str, T]:
    """Return those contenders that are there, and say of the others why not."""
    found: dict[str, T] = {}
    for name, make in made.items():
        try:
            found[name] = make(stack)
        except NotThere as error:
            skipped(name, error)
    return found
