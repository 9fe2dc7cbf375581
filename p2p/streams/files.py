"""Files over a stream: in chunks of 1 MiB, with progress, whole or not at all.

    first chunk   [1, name, size]
    chunks        the bytes
    last chunk    BLAKE2b-256 of them

The receiver writes to a temporary file beside the target and renames it when size and checksum are
right and the bytes are on the disk; whoever looks sees the whole file or none. The name that the
other side gives is a name and never a path. Disk and checksum work is done in threads.

What this module does not know: connections; a stream that breaks and comes back goes on here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from p2p.errors import BadFileName, FileDamaged, FileNotStored
from p2p.wire import PayloadError, decode_payload, encode_payload

FORMAT = 1
CHUNK_BYTES = 1024 * 1024
BATCH_CHUNKS = 4  # read or written in one visit of a thread
MAX_NAME_BYTES = 255
MAX_SIZE = 2**62

Progress = Callable[[int, int], None]  # bytes so far, bytes in all


class Chunks(Protocol):
    """What a file travels over; `p2p.Stream` is one."""

    @property
    def peer(self) -> str: ...

    async def write(self, chunk: bytes) -> None: ...

    async def finish(self) -> None: ...

    def abort(self, reason: str) -> None: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file that has arrived whole.

    Attributes:
        digest: BLAKE2b-256 of its bytes, as hexadecimal.
    """

    path: Path
    size_bytes: int
    digest: str


async def send_file(
    stream: Chunks, path: str | Path, *, name: str | None = None, progress: Progress | None = None
) -> str:
    """Send a file and return its digest once the other side has received all of it.

    Args:
        name: what the other side calls it; its own name unless said.
        progress: called as (bytes so far, bytes in all).

    Raises:
        OSError: it cannot be read.
        FileDamaged: it changed its size meanwhile.
        ConnectionLost, RemoteError: the other side is gone, or gave up.
    """
    path = Path(path)
    digest = hashlib.blake2b(digest_size=32)
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            await stream.write(encode_payload([FORMAT, name or path.name, size]))
            sent = 0
            while batch := await asyncio.to_thread(_read, file, digest):
                for chunk in batch:
                    await stream.write(chunk)
                    sent += len(chunk)
                    if progress is not None:
                        progress(sent, size)
            if sent != size:
                raise FileDamaged("here", path.name, f"it had {size:,} bytes, and then {sent:,}")
    except (OSError, FileDamaged) as error:
        stream.abort(f"the file cannot be read: {error}")
        raise
    await stream.write(digest.digest())
    await stream.finish()
    return digest.hexdigest()


async def receive_file(
    stream: Chunks,
    directory: str | Path,
    *,
    name: str | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
    overwrite: bool = False,
) -> ReceivedFile:
    """Receive a file into a directory.

    Args:
        name: what it is called here; the sender's name for it unless said.
        max_bytes: more is refused before any byte is taken.

    Raises:
        BadFileName: the sender's name is none, or a path.
        FileNotStored: the disk refuses, it exists already, or it is too large.
        FileDamaged: what arrived is not what was sent.
        ConnectionLost, RemoteError: the sender is gone, or gave up.
    """
    chunks = aiter(stream)
    try:
        said_name, size = await _header(stream, chunks)
        target = Path(directory) / (name or _safe(stream.peer, said_name))
        if max_bytes is not None and size > max_bytes:
            raise FileNotStored(str(target), f"it has {size:,} bytes, {max_bytes:,} are allowed")
        if target.exists() and not overwrite:
            raise FileNotStored(str(target), "there is such a file already")
        return await _store(stream, chunks, target, size, progress)
    except (BadFileName, FileNotStored, FileDamaged) as error:
        stream.abort(str(error))
        raise


async def _header(stream: Chunks, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
    try:
        fields = decode_payload(await anext(chunks))
    except (StopAsyncIteration, PayloadError):
        fields = None
    if isinstance(fields, list) and len(fields) >= 3 and fields[0] == FORMAT:
        name, size = fields[1:3]
        if type(name) is str and type(size) is int and 0 <= size <= MAX_SIZE:
            return name, size
    raise FileDamaged(stream.peer, "a file", "it does not begin as one")


def _safe(peer: str, name: str) -> str:
    """Return a name that lies in one directory on any system, or refuse it."""
    bad = set(name) & set("/\\:\0") or any(ord(c) < 32 for c in name)
    if bad or name in ("", ".", "..") or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise BadFileName(peer, name)
    return name


async def _store(
    stream: Chunks,
    chunks: AsyncIterator[bytes],
    target: Path,
    size: int,
    progress: Progress | None,
) -> ReceivedFile:
    digest = hashlib.blake2b(digest_size=32)
    received = 0
    try:
        number, temporary = await asyncio.to_thread(
            tempfile.mkstemp, prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        raise FileNotStored(str(target), error.strerror or str(error)) from None
    try:
        with os.fdopen(number, "wb", buffering=0) as file:
            batch: list[bytes] = []
            trailer = b""
            async for chunk in chunks:
                if received == size:
                    trailer = chunk
                    break
                received += len(chunk)
                if received > size:
                    break
                batch.append(chunk)
                if len(batch) >= BATCH_CHUNKS or received >= size:
                    await asyncio.to_thread(_write, file, digest, batch)
                    batch = []
                    if progress is not None:
                        progress(received, size)
            if received != size:
                what = f"{size:,} bytes were announced and {received:,} came"
                raise FileDamaged(stream.peer, target.name, what)
            if trailer != digest.digest():
                raise FileDamaged(stream.peer, target.name, "its checksum is wrong")
            await asyncio.to_thread(_keep, file, temporary, target)
    except OSError as error:
        raise FileNotStored(str(target), error.strerror or str(error)) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return ReceivedFile(target, size, digest.hexdigest())


def _read(file: BinaryIO, digest: hashlib.blake2b) -> list[bytes]:
    batch = []
    for _ in range(BATCH_CHUNKS):
        chunk = file.read(CHUNK_BYTES)
        if not chunk:
            break
        digest.update(chunk)
        batch.append(chunk)
    return batch


def _write(file: BinaryIO, digest: hashlib.blake2b, batch: list[bytes]) -> None:
    for chunk in batch:
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]


def _keep(file: BinaryIO, temporary: str, target: Path) -> None:
    """Make it durable under its name."""
    os.fsync(file.fileno())
    os.replace(temporary, target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
