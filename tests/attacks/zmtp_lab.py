"""ZMTP by hand: greetings, the three mechanisms, frames. It can do all that libzmq would not.

RFC 23 (ZMTP 3), RFC 24 (PLAIN), RFC 26 (CURVE); CURVE's boxes are libsodium's. Whoever plays foul
is a `Raw`: bytes out, frames in, every wait under a deadline.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nacl.bindings import crypto_box, crypto_box_keypair, crypto_box_open

from keys import TransportKey

MORE, LONG, COMMAND = 1, 2, 4
WAIT_S = 3.0


def greeting(
    mechanism: bytes = b"CURVE", *, version: bytes = b"\3\1", server: bool = False
) -> bytes:
    begin = b"\xff" + bytes(8) + b"\x7f" + version
    return begin + mechanism.ljust(20, b"\0") + bytes([server]) + bytes(31)


def frame(body: bytes, flags: int = 0) -> bytes:
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body


def command(name: bytes, body: bytes = b"") -> bytes:
    return frame(bytes([len(name)]) + name + body, COMMAND)


def properties(said: Mapping[bytes, bytes]) -> bytes:
    return b"".join(
        bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
        for name, value in said.items()
    )


@dataclass
class Raw:
    """One TCP connection to a ZeroMQ port, and the state of CURVE on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    nonce: int = 1
    transient: tuple[bytes, bytes] = field(default_factory=crypto_box_keypair)
    server_transient: bytes = b""

    @classmethod
    async def to(cls, port: int) -> Raw:
        async with asyncio.timeout(WAIT_S):
            return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Raw:
        return self

    async def __aexit__(self, *_: object) -> None:
        """It ends before its loop does: what is left is found by the collector in the middle of
        another test, which is blamed for it."""
        self.writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await self.writer.wait_closed()
        self.writer.transport.abort()

    async def say(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            async with asyncio.timeout(WAIT_S):
                await self.writer.drain()
        except ConnectionError:
            return

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(WAIT_S):
            return await self.reader.readexactly(count)

    async def next_frame(self) -> tuple[int, bytes]:
        flags = (await self.read(1))[0]
        size = (
            struct.unpack(">Q", await self.read(8))[0] if flags & LONG else (await self.read(1))[0]
        )
        return flags, await self.read(size)

    async def closed(self, within_s: float = WAIT_S) -> bool:
        """Whether the other side hangs up; what it still says is thrown away."""
        try:
            async with asyncio.timeout(within_s):
                while await self.reader.read(65_536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    # -- CURVE ----------------------------------------------------------------------------------

    def hello(self, server_public: bytes, *, box: bytes | None = None) -> bytes:
        short = self._short()
        sealed = box or crypto_box(
            bytes(64), b"CurveZMQHELLO---" + short, server_public, self.transient[1]
        )
        return command(b"HELLO", b"\1\0" + bytes(72) + self.transient[0] + short + sealed)

    def initiate(
        self,
        cookie: bytes,
        key: TransportKey,
        server_public: bytes,
        said: Mapping[bytes, bytes],
    ) -> bytes:
        tail = os.urandom(16)
        vouch = tail + crypto_box(
            self.transient[0] + server_public,
            b"VOUCH---" + tail,
            self.server_transient,
            key.export_secret(),
        )
        short = self._short()
        plain = key.public + vouch + properties(said)
        sealed = crypto_box(
            plain, b"CurveZMQINITIATE" + short, self.server_transient, self.transient[1]
        )
        return command(b"INITIATE", cookie + short + sealed)

    async def shake_hands(
        self,
        key: TransportKey,
        server_public: bytes,
        *,
        kind: bytes = b"DEALER",
        identity: bytes = b"\1raw",
        extra: Mapping[bytes, bytes] | None = None,
    ) -> bytes:
        """A whole CURVE handshake; returns the name of the last command: READY, or ERROR."""
        await self.say(greeting())
        await self.read(64)
        await self.say(self.hello(server_public))
        _, welcome = await self.next_frame()
        assert welcome.startswith(b"\7WELCOME"), welcome[:16]
        plain = crypto_box_open(
            welcome[24:], b"WELCOME-" + welcome[8:24], server_public, self.transient[1]
        )
        self.server_transient, cookie = plain[:32], plain[32:]
        said = {b"Socket-Type": kind, b"Identity": identity, **(extra or {})}
        await self.say(self.initiate(cookie, key, server_public, said))
        _, last = await self.next_frame()
        return last[1 : 1 + last[0]]

    def message(self, body: bytes, flags: int = 0) -> bytes:
        """One frame, sealed; `flags`: 1 there is more, 2 it is a command."""
        short = self._short()
        sealed = crypto_box(
            bytes([flags]) + body,
            b"CurveZMQMESSAGEC" + short,
            self.server_transient,
            self.transient[1],
        )
        return frame(b"\7MESSAGE" + short + sealed)

    def _short(self) -> bytes:
        short = struct.pack(">Q", self.nonce)
        self.nonce += 1
        return short


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
