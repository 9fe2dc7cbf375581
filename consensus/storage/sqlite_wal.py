"""SQLite's own write-ahead log, beside the file: made long in advance, and mistrusted at start.

Long in advance: a commit that only overwrites costs half of one that makes the file longer, because
its fsync has no length to write.

Mistrusted: SQLite takes the first frame with a wrong checksum for the end and drops what follows.
After a power cut that is right for the last transaction, which nobody was told of. It is wrong for
those before: they were synced, so a bad frame among them is damage to entries that were confirmed,
and cutting them would be amnesia (R25).

    header   magic u32 | version | page size | sequence | salt 2 * u32 | checksum 2 * u32
    frame    page u32 | pages of the file after a commit, else 0 | salt | checksum | the page

Each checksum goes on from the one before; frames of an earlier round have another salt, and zeros
have none. Source: "Database File Format", section 4.1, of SQLite's documentation.

What this module does not know: what is in the pages. It only reads what SQLite has written.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from operator import mul
from pathlib import Path
from typing import NamedTuple

from consensus.errors import LogCorrupted

PREALLOCATED_BYTES = 16 * 1024 * 1024

_HEADER_BYTES = 32
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_WORD = 0xFFFFFFFF
_SECOND_SHIFT = 96
_MAGIC = 0x377F0682  # its lowest bit says that checksums are over big-endian words


class _Frame(NamedTuple):
    page: int
    commit: int
    salt: tuple[int, int]
    checksum: tuple[int, int]


def wal_of(path: Path) -> Path:
    """The write-ahead log that SQLite keeps beside this file."""
    return path.with_name(path.name + "-wal")


def preallocate(path: Path, size: int = PREALLOCATED_BYTES) -> None:
    """Make it this long, if there is one and the disk has room; only speed depends on it."""
    wal = wal_of(path)
    if not wal.exists():
        return
    with wal.open("r+b", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        zeros = bytes(1024 * 1024)
        try:
            while file.tell() < size:
                file.write(zeros[: size - file.tell()])
            os.fsync(file.fileno())
        except OSError:
            file.truncate(length)


def refuse_damage(path: Path) -> None:
    """Look at what a process that died has left, before SQLite cuts it.

    Raises:
        LogCorrupted: a transaction that was confirmed is damaged.
        OSError: it cannot be read.
    """
    wal = wal_of(path)
    data = wal.read_bytes() if wal.exists() else b""
    if len(data) < _HEADER_BYTES:
        return
    magic, _, page_bytes, _, *rest = _HEADER.unpack_from(data)
    order = "big" if magic & 1 else "little"
    salt, said = (rest[0], rest[1]), (rest[2], rest[3])
    if not 512 <= page_bytes <= 65536 or page_bytes & (page_bytes - 1):
        page_bytes = _known_page_bytes(path)
    checksum = _checksum(data[:24], order, (0, 0))
    is_sound = magic & ~1 == _MAGIC and checksum == said
    frames = _frames(data, page_bytes)
    if not is_sound and frames:
        salt = frames[0].salt
    commits = _commits(data, frames, salt, page_bytes)
    if len(commits) < 2:
        return
    if not is_sound:
        raise LogCorrupted(str(wal), 0, "the header of SQLite's write-ahead log is damaged")
    for number in range(commits[-2] + 1):
        at = _HEADER_BYTES + number * (_FRAME.size + page_bytes)
        frame = frames[number]
        page = at + _FRAME.size
        checked = data[at : at + 8] + data[page : page + page_bytes]
        checksum = _checksum(checked, order, checksum)
        if frame.salt != salt or frame.checksum != checksum or not frame.page:
            why = f"frame {number} of {len(frames)} in SQLite's write-ahead log is damaged"
            raise LogCorrupted(str(wal), 0, why)


def _frames(data: bytes, page_bytes: int) -> list[_Frame]:
    step = _FRAME.size + page_bytes
    found = []
    for at in range(_HEADER_BYTES, len(data) - step + 1, step):
        page, commit, salt_1, salt_2, sum_1, sum_2 = _FRAME.unpack_from(data, at)
        found.append(_Frame(page, commit, (salt_1, salt_2), (sum_1, sum_2)))
    return found


def _commits(
    data: bytes, frames: list[_Frame], salt: tuple[int, int], page_bytes: int
) -> list[int]:
    """Where transactions of this round end. A frame that repeats the one before only fills up a
    sector."""
    step = _FRAME.size + page_bytes
    found: list[int] = []
    for number, frame in enumerate(frames):
        if not frame.commit or frame.salt != salt or salt == (0, 0):
            continue
        at = _HEADER_BYTES + number * step + _FRAME.size
        page, page_before = data[at : at + page_bytes], data[at - step :][:page_bytes]
        if found and found[-1] == number - 1 and page == page_before:
            found[-1] = number
        else:
            found.append(number)
    return found


def _checksum(data: bytes, order: str, before: tuple[int, int]) -> tuple[int, int]:
    """The two sums over these bytes, going on from those before.

    SQLite's rule, for each pair of words: first += even + second; second += odd + first. Both are
    sums of products in the end, which need no loop of our own.
    """
    words = struct.unpack(f"{'>' if order == 'big' else '<'}{len(data) // 4}I", data)
    total = sum(map(mul, _weights(len(words)), (*words, *before)))
    return total & _WORD, total >> _SECOND_SHIFT & _WORD


@cache
def _weights(words: int) -> tuple[int, ...]:
    """How often each word, and the two sums before them, are in the two sums at the end.

    Found from the end backwards, where each sum is in itself once. Both counts share one number,
    so far apart that no sum of products reaches from one to the other.
    """
    first, second = (1, 0), (0, 1)
    found: list[tuple[int, int]] = []
    for _ in range(words // 2):
        both = _added(first, second)
        found += (second, both)  # of the odd word, and of the even one before it
        first, second = both, _added(both, second)
    found = [*reversed(found), first, second]
    return tuple(one | other << _SECOND_SHIFT for one, other in found)


def _added(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    return (left[0] + right[0]) & _WORD, (left[1] + right[1]) & _WORD


def _known_page_bytes(path: Path) -> int:
    """The page size that the file itself names."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
    return 65536 if size == 1 else max(size, 512)
