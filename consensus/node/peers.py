"""The other nodes over plain TCP: frames behind their length, one connection each way.

    frame    size u32 | kind u8 | bytes       kind 0: who I am, 1: a message, 2: part of a snapshot

A node dials every other one and only sends there; what it cannot send is lost.

What this module does not know: what messages mean. It authenticates nobody, which is why only
loopback is allowed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Callable, Mapping

_FRAME = struct.Struct(">IB")
HELLO, MESSAGE, PART = 0, 1, 2
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_QUEUED_BYTES = 64 * 1024 * 1024
REDIAL_S = 0.05

Address = tuple[str, int]
Take = Callable[[str, bytes], None]


class NotLoopback(ValueError):
    """An address that other machines could reach."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is not a loopback address: this node has no encryption, it is for tests"
        )


def parse_address(text: str) -> Address:
    """`host:port`, loopback only.

    Raises:
        NotLoopback.
        ValueError: it is no address.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if host == "localhost":
        host = "127.0.0.1"
    if not ipaddress.ip_address(host).is_loopback:
        raise NotLoopback(text)
    number = int(port)
    if not 0 < number < 65536:
        raise ValueError(f"{text}: no such port")
    return host, number


class Peers:
    """Connections to the other nodes.

    Args:
        addresses: of all nodes, by id.
        on_message, on_part: hear of what comes in, with the id of its sender.
        on_lost: hears of a connection that broke.
    """

    def __init__(
        self,
        own: str,
        addresses: Mapping[str, Address],
        on_message: Take,
        on_part: Take,
        on_lost: Callable[[str], None],
    ) -> None:
        self._own = own
        self._addresses = dict(addresses)
        self._take = {MESSAGE: on_message, PART: on_part}
        self._on_lost = on_lost
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._dialling: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._incoming: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, and dial the others again and again."""
        host, port = self._addresses[self._own]
        self._server = await asyncio.start_server(self._serve, host, port)
        loop = asyncio.get_running_loop()
        for name, address in self._addresses.items():
            if name != self._own:
                self._dialling.append(loop.create_task(self._dial(name, address)))

    async def close(self) -> None:
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for writer in (*self._writers.values(), *self._incoming):
            writer.close()

    # -- the face of a link --------------------------------------------------------------------

    def send(self, to: str, data: bytes) -> None:
        """See `Link.send`."""
        self._write(to, MESSAGE, data)

    def send_part(self, to: str, data: bytes) -> None:
        """See `Link.send_part`."""
        self._write(to, PART, data)

    def _write(self, to: str, kind: int, data: bytes) -> None:
        writer = self._writers.get(to)
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > MAX_QUEUED_BYTES:
            return
        writer.write(_FRAME.pack(len(data), kind) + data)

    # -- connections ---------------------------------------------------------------------------

    async def _dial(self, name: str, address: Address) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(*address)
            except OSError:
                await asyncio.sleep(REDIAL_S)
                continue
            own = self._own.encode()
            writer.write(_FRAME.pack(len(own), HELLO) + own)
            self._writers[name] = writer
            try:
                await reader.read()  # nothing comes this way but its end
            except OSError:
                pass
            finally:
                self._writers.pop(name, None)
                writer.close()
                self._on_lost(name)
            await asyncio.sleep(REDIAL_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._incoming.add(writer)
        sender: str | None = None
        try:
            while True:
                size, kind = _FRAME.unpack(await reader.readexactly(_FRAME.size))
                if size > MAX_FRAME_BYTES:
                    return
                data = await reader.readexactly(size)
                if kind == HELLO:
                    sender = data.decode(errors="replace")
                    if sender not in self._addresses or sender == self._own:
                        return
                elif sender is None or kind not in self._take:
                    return
                else:
                    self._take[kind](sender, data)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._incoming.discard(writer)
            writer.close()
