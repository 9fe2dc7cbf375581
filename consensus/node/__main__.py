"""Run one node: `--data-dir D --id N --peers id=host:port,... --client-port P [--trace FILE]`.

It runs until SIGTERM or SIGINT, or until it cannot go on (exit code 1, with the reason on standard
error). It prints one line when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from consensus.errors import ConsensusError
from consensus.kv import KvStore
from consensus.node.machine import StoreMachine
from consensus.node.peers import Address, NotLoopback, Peers, parse_address
from consensus.node.serving import MAX_LINE_BYTES, Serving
from consensus.raft import Config, TraceEvent
from consensus.raft.trace import line_of
from consensus.runner import Runner
from consensus.storage import SqliteStorage

CLUSTER = "harness"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m consensus.node", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="where the log lies")
    parser.add_argument("--id", required=True, help="which of the peers this node is")
    parser.add_argument(
        "--peers", required=True, metavar="id=host:port,...", help="all nodes, this one too"
    )
    parser.add_argument("--client-port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--trace", type=Path, help="append every step as a line of JSON")
    parser.add_argument("--cluster", default=CLUSTER, help="nodes of other clusters are not heard")
    parser.add_argument("--heartbeat-ms", type=int, default=150)
    parser.add_argument("--election-ms", type=int, default=800)
    parser.add_argument("--snapshot-entries", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="of the election timer")
    options = parser.parse_args(arguments)
    try:
        peers = parse_peers(options.peers)
        if options.id not in peers:
            parser.error(f"--peers does not name {options.id!r}")
    except (NotLoopback, ValueError) as error:
        parser.error(str(error))
    try:
        return asyncio.run(run(options, peers))
    except ConsensusError as error:
        print(error, file=sys.stderr)
        return 1


def parse_peers(text: str) -> dict[str, Address]:
    """
    Raises:
        ValueError, NotLoopback.
    """
    peers: dict[str, Address] = {}
    for item in text.split(","):
        name, equals, address = item.partition("=")
        if not (name and equals):
            raise ValueError(f"{item!r} is not id=host:port")
        if name in peers:
            raise ValueError(f"{name} is there twice")
        peers[name] = parse_address(address)
    return peers


async def run(options: argparse.Namespace, peers: dict[str, Address]) -> int:
    """Until a signal or the end of the node."""
    with contextlib.ExitStack() as stack:
        trace = stack.enter_context(_opened(options.trace))
        machine = StoreMachine(KvStore())
        config = Config(
            options.id,
            options.cluster,
            tuple(sorted(peers)),
            heartbeat_ms=options.heartbeat_ms,
            election_timeout_ms=options.election_ms,
            trace=trace is not None,
        )
        ended: asyncio.Future[ConsensusError | None] = asyncio.get_running_loop().create_future()
        links = Peers(
            options.id,
            peers,
            lambda sender, data: runner.receive_from(sender, data),
            lambda sender, data: runner.receive_part_from(sender, data),
            lambda peer: runner.unreachable(peer),
        )
        runner = Runner(
            config,
            SqliteStorage(options.data_dir / "log.db", options.cluster, options.id),
            links,
            machine,
            clock_ms=_now_ms,
            rng=random.Random(options.seed),
            snapshot_entries=options.snapshot_entries,
        )
        runner.on_fatal = lambda error: None if ended.done() else ended.set_result(error)
        if trace is not None:
            runner.on_trace = lambda events: _write(trace, events)
        await links.start()
        try:
            async with runner:
                return await _serve(options, runner, machine, ended)
        finally:
            await links.close()


async def _serve(
    options: argparse.Namespace,
    runner: Runner,
    machine: StoreMachine,
    ended: asyncio.Future[ConsensusError | None],
) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None if ended.done() else ended.set_result(None))
    serving = Serving(options.id, runner, machine, _now_ms)
    server = await asyncio.start_server(
        serving.serve, "127.0.0.1", options.client_port, limit=MAX_LINE_BYTES
    )
    expiring = loop.create_task(serving.expire())
    port = server.sockets[0].getsockname()[1]
    print(f"{options.id} is ready for clients on 127.0.0.1:{port}", flush=True)
    server.sockets[0].getsockname()[1]
    try:
        error = await ended
    finally:
        server.close()
        expiring.cancel()
    if error is not None:
        print(error, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    with path.open("a", encoding="utf-8") as file:
        yield file


def _write(file: TextIO, events: Sequence[TraceEvent]) -> None:
    file.writelines(line_of(event) + "\n" for event in events)
    file.flush()


def _now_ms() -> int:
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


# Where there is one that goes on counting while the machine sleeps, leases need it.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


if __name__ == "__main__":
    sys.exit(main())
