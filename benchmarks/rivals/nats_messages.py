"""NATS under mutual TLS: request and reply, and publications, through one server.

    python -m benchmarks.rivals.nats_messages echo-server PEMS PORT | echo-client PEMS PORT
    python -m benchmarks.rivals.nats_messages publisher PEMS PORT | subscriber PEMS PORT

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.certificates import HOST
from benchmarks.counting import Count
from benchmarks.loads import closed_loop
from benchmarks.orders import obey, run_loop

Words = dict[str, Any]

SUBJECT = "bench"
FLUSH_EACH = 2_000  # publications; without it the client's buffer overflows
READY_S = 10.0


@contextmanager
def nats_server(pems: Path) -> Iterator[int]:
    """Run `nats-server` on a port of the loopback address, and yield the port."""
    words = ["nats-server", "--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(pems)]
    words += ["--tls", "--tlsverify", "--tlscert", str(pems / "cert.pem")]
    words += ["--tlskey", str(pems / "key.pem"), "--tlscacert", str(pems / "ca.pem")]
    with (pems / "nats.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield _port(process, pems)
    finally:
        process.terminate()
        process.wait(10)


def _port(process: subprocess.Popen[bytes], pems: Path) -> int:
    said = pems / f"nats-server_{process.pid}.ports"
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        if said.exists() and (text := said.read_text()):
            return int(json.loads(text)["nats"][0].rsplit(":", 1)[1])
        time.sleep(0.02)
    raise AssertionError(f"nats-server: {(pems / 'nats.log').read_text()}")


async def _connection(pems: str, port: str) -> Any:
    import nats

    place = Path(pems)
    context = ssl.create_default_context(cafile=str(place / "ca.pem"))
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    return await nats.connect(
        f"tls://127.0.0.1:{port}",
        tls=context,
        tls_hostname=HOST,
        pending_size=64 * 2**20,
        allow_reconnect=False,
    )


async def echo_server(pems: str, port: str) -> None:
    """Answer each request with itself."""
    connection = await _connection(pems, port)

    async def answer(message: Any) -> None:
        await connection.publish(message.reply, message.data)

    await connection.subscribe(SUBJECT, cb=answer)
    await connection.flush()
    await obey({}, {})
    await connection.close()


async def echo_client(pems: str, port: str) -> None:
    """Requests through the client's own inbox."""
    connection = await _connection(pems, port)

    async def echo(bytes_: int, in_flight: int, seconds: float) -> Words:
        payload = bytes(bytes_)
        return await closed_loop(
            lambda: connection.request(SUBJECT, payload, timeout=10), in_flight, seconds
        )

    await obey({}, {"echo": echo})
    await connection.close()


async def publisher(pems: str, port: str) -> None:
    """Publish as fast as the client takes it."""
    connection = await _connection(pems, port)

    async def wait_subscribers(count: int) -> Words:
        return {}  # they have flushed their subscriptions before they said that they are ready

    async def publish(count: int, bytes_: int) -> Words:
        payload = bytes(bytes_)
        began_s = time.monotonic()
        for number in range(count):
            await connection.publish(SUBJECT, payload)
            if number % FLUSH_EACH == 0:
                await connection.flush()
        await connection.flush()
        return {"began_s": began_s}

    await obey({}, {"wait_subscribers": wait_subscribers, "publish": publish})
    await connection.close()


async def subscriber(pems: str, port: str) -> None:
    """Count what comes."""
    connection = await _connection(pems, port)
    count = Count()

    async def on_message(_: Any) -> None:
        count.one()

    await connection.subscribe(
        SUBJECT, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
    )
    await connection.flush()
    await obey({}, {"take": count.take})
    await connection.close()


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "echo-server": echo_server,
    "echo-client": echo_client,
    "publisher": publisher,
    "subscriber": subscriber,
}

if __name__ == "__main__":
    run_loop(ROLES[sys.argv[1]](*sys.argv[2:]))
