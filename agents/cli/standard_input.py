"""Lines of standard input, read while the loop goes on: from a terminal, a pipe or a file.

A thread reads, because a file cannot be waited for and a terminal may stay silent for ever; it
holds nothing that keeps the process from ending. It is at most one piece ahead of the reader.

What this module does not know: what the lines mean.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

from agents.errors import InvalidArguments

MAX_LINE_BYTES = 1024 * 1024
PIECE_BYTES = 64 * 1024


async def lines_of_stdin(descriptor: int = 0) -> AsyncIterator[str]:
    """Yield each line without its end; the last one needs none.

    Raises:
        InvalidArguments: a line is over 1 MiB or not UTF-8.
        OSError: it cannot be read.
    """
    number, begun = 0, b""
    async for piece in _pieces(descriptor):
        *lines, begun = (begun + piece).split(b"\n")
        for line in lines:
            number += 1
            yield _text(line, number)
        if len(begun) > MAX_LINE_BYTES:
            said = f"line {number + 1} is over the limit of {MAX_LINE_BYTES:,} bytes"
            raise InvalidArguments("standard input", said)
    if begun:
        yield _text(begun, number + 1)


def _text(line: bytes, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise InvalidArguments("standard input", f"line {number} is not UTF-8") from None


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    wanted = threading.Semaphore(0)
    arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue()

    def read() -> None:
        while wanted.acquire():
            try:
                piece: bytes | OSError = os.read(descriptor, PIECE_BYTES)
            except OSError as error:
                piece = error
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, piece)
            except RuntimeError:  # the loop has ended, and nobody waits for this any more
                return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while True:
        wanted.release()
        piece = await arrived.get()
        if isinstance(piece, OSError):
            raise piece
        if not piece:
            return
        yield piece
