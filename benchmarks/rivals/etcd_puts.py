"""etcd: three servers on loopback without TLS, and a client that puts through gRPC.

    python -m benchmarks.rivals.etcd_puts PORT ...

The two messages of the one call that is needed are written by hand (`PutRequest`: key = 1,
value = 2), so that no generated code has to be kept. One channel for each server, which forwards
to its leader, as etcd's own clients are spread.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.loads import closed_loop
from benchmarks.orders import obey, run_loop

Words = dict[str, Any]

HOST = "127.0.0.1"
READY_S = 20.0
KEYS = 1_000


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def etcd_servers(count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Run a cluster; yield the process ids and the clients' ports, the leader's first."""
    ports = free_ports(2 * count)
    peers = [f"http://{HOST}:{port}" for port in ports[count:]]
    clients = [f"http://{HOST}:{port}" for port in ports[:count]]
    cluster = ",".join(f"m{n}={url}" for n, url in enumerate(peers))
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
        try:
            for n in range(count):
                words = ["etcd", "--name", f"m{n}", "--data-dir", f"{directory}/m{n}"]
                words += ["--listen-client-urls", clients[n], "--advertise-client-urls", clients[n]]
                words += ["--listen-peer-urls", peers[n], "--initial-cluster", cluster]
                words += ["--initial-advertise-peer-urls", peers[n], "--log-level", "error"]
                with Path(directory, f"m{n}.log").open("wb") as log:
                    processes.append(
                        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                    )
            for url in clients:
                _wait(f"{url}/health", directory)
            yield [process.pid for process in processes], ports[:count]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)


def _wait(url: str, directory: str) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:
                if b"true" in answer.read():
                    return
        except OSError:
            time.sleep(0.05)
    logs = "\n".join(log.read_text()[-500:] for log in Path(directory).glob("*.log"))
    raise AssertionError(f"etcd does not begin: {logs}")


def _put_request(pair: tuple[bytes, bytes]) -> bytes:
    key, value = pair
    return b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


async def main(ports: Sequence[str]) -> None:
    """Put when told to."""
    import grpc.aio

    channels = [grpc.aio.insecure_channel(f"{HOST}:{port}") for port in ports]
    puts = [
        channel.unary_unary("/etcdserverpb.KV/Put", request_serializer=_put_request)
        for channel in channels
    ]

    async def commit(bytes_: int, in_flight: int, seconds: float) -> Words:
        value = bytes(bytes_)
        keys = itertools.cycle([f"key-{n:06}".encode() for n in range(KEYS)])
        turns = itertools.cycle(puts)
        asked = 0

        def ask() -> Awaitable[Any]:
            nonlocal asked
            asked += 1
            put: Any = next(turns)
            call: Awaitable[Any] = put((next(keys), value))
            return call

        done = await closed_loop(ask, in_flight, seconds)
        return {**done, "all": asked}

    await obey({}, {"commit": commit})
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    run_loop(main(sys.argv[1:]))
