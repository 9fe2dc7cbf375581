"""gRPC for asyncio under mutual TLS: unary echo, and chunks streamed by the server.

    python -m benchmarks.rivals.grpc_calls server PEMS | client PEMS PORT

Payloads are bytes without protobuf, which is kind to gRPC.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from benchmarks.certificates import HOST
from benchmarks.loads import closed_loop
from benchmarks.orders import obey, run_loop

Words = dict[str, Any]

SERVICE = "bench.Bench"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


async def serve(pems: Path) -> None:
    """Echo, and stream what is asked for."""

    async def echo(request: bytes, _: Any) -> bytes:
        return request

    async def stream(request: bytes, _: Any) -> AsyncIterator[bytes]:
        asked = json.loads(request)
        chunk = bytes(asked["chunk_bytes"])
        for _number in range(asked["total_bytes"] // asked["chunk_bytes"]):
            yield chunk

    server = grpc.aio.server(options=OPTIONS)
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    key, chain, ca = (_read(pems, name) for name in ("key.pem", "cert.pem", "ca.pem"))
    credentials = grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    await obey({"port": port}, {})
    await server.stop(0.1)


async def call(pems: Path, port: str) -> None:
    """One channel, as one would have."""
    key, chain, ca = (_read(pems, name) for name in ("key.pem", "cert.pem", "ca.pem"))
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    options = [*OPTIONS, ("grpc.ssl_target_name_override", HOST)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/Echo")
        receive = channel.unary_stream(f"/{SERVICE}/Stream")
        await channel.channel_ready()

        async def echo(bytes_: int, in_flight: int, seconds: float) -> Words:
            payload = bytes(bytes_)
            return await closed_loop(lambda: ask(payload), in_flight, seconds)

        async def stream(total_bytes: int, chunk_bytes: int) -> Words:
            asked = json.dumps({"total_bytes": total_bytes, "chunk_bytes": chunk_bytes})
            began = time.perf_counter()
            got_bytes = 0
            async for chunk in receive(asked.encode()):
                got_bytes += len(chunk)
            assert got_bytes == total_bytes, f"{got_bytes:,} of {total_bytes:,} bytes came"
            return {"mb_s": total_bytes / 1e6 / (time.perf_counter() - began)}

        async def first() -> Words:
            await ask(b"first")
            return {}

        await obey({}, {"echo": echo, "stream": stream, "first": first})


def _read(pems: Path, name: str) -> bytes:
    return (pems / name).read_bytes()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        run_loop(serve(Path(sys.argv[2])))
    else:
        run_loop(call(Path(sys.argv[2]), sys.argv[3]))
