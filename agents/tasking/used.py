"""Which approvals have served on this node, also before it was started again.

An approval holds no time and so has no end: whoever leads could show it again for ever. So each is
on disk before the handler that it was given for begins. A crash between the two costs the
assignment, and the next one is another question; nothing is done twice.

    approvals-<n % 16>.used   fingerprint of the rest, MAGIC, n in 8 bytes, and the ids of up to
                              4,096 questions, 16 bytes each, in the order in which they served

A full file stays as it is, the next one takes the place of the oldest: so the latest 61,440 at
least are known, and a write is one small file, for all that wait for one.

What this module does not know: what was approved, of whom, and whether it was.

Invariants: what `take` has let pass no later start lets pass; a file that is damaged is an error
and never less.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

from keys import HomeDamaged, fingerprint, read_file, write_atomic

MAGIC: Final = b"conclave used 1\n"
FILES: Final = 16
PER_FILE: Final = 4096
ID_BYTES: Final = 16
_HEAD_BYTES: Final = 32 + len(MAGIC) + 8
_MAX_BYTES: Final = _HEAD_BYTES + PER_FILE * ID_BYTES


class UsedFile(NamedTuple):
    """One of the files: which one since the first, and what it holds."""

    number: int
    questions: tuple[bytes, ...]

    def encode(self) -> bytes:
        rest = MAGIC + self.number.to_bytes(8, "big") + b"".join(self.questions)
        return fingerprint(rest) + rest


class UsedApprovals:
    """Read when the first voted work comes, for most nodes never get any."""

    def __init__(self, home: Path) -> None:
        self._home = home
        # By question, the assignment that it served for; None of an earlier start's.
        self._served: OrderedDict[bytes, int | None] | None = None
        self._latest = UsedFile(0, ())  # as it is on the disk
        self._new: list[bytes] = []  # not on the disk yet
        self._noted = 0
        self._written = 0
        self._writing: asyncio.Future[None] | None = None

    async def take(self, question: str, token: int) -> str | None:
        """Let an approval serve for this assignment; or say why it may not.

        Raises:
            KeystoreError: it cannot be written down, so nothing may begin.
        """
        served, name = self._known(), bytes.fromhex(question)
        if name not in served:
            served[name] = token
            self._new.append(name)
            self._noted += 1
            while len(served) > FILES * PER_FILE:
                served.popitem(last=False)
        elif served[name] is None:
            return "it has served already, before this node was started again"
        elif served[name] != token:
            return "it has served for another assignment already"
        await self._all_written()
        return None

    def _known(self) -> OrderedDict[bytes, int | None]:
        if self._served is None:
            found = sorted(filter(None, map(self._read, range(FILES))))
            self._latest = found[-1] if found else self._latest
            names = (name for each in found for name in each.questions)
            self._served = OrderedDict.fromkeys(names)
        return self._served

    def _read(self, place: int) -> UsedFile | None:
        path = self._path(place)
        data = read_file(path, _MAX_BYTES)
        if data is None:
            return None
        try:
            found = parse_used(data)
        except ValueError as error:
            raise HomeDamaged(path, str(error)) from error
        if found.number % FILES != place:
            raise HomeDamaged(path, f"it is number {found.number} and belongs elsewhere")
        return found

    def _path(self, number: int) -> Path:
        return self._home / f"approvals-{number % FILES}.used"

    # -- writing -------------------------------------------------------------------------------

    async def _all_written(self) -> None:
        """Whoever is cancelled here stops no write: others wait for the same one."""
        wanted = self._noted
        while self._written < wanted:
            writing = self._writing or self._begin()
            await asyncio.wait((writing,))
            writing.result()

    def _begin(self) -> asyncio.Future[None]:
        number, before = self._latest
        if len(before) >= PER_FILE:
            number, before = number + 1, ()
        batch = tuple(self._new[: PER_FILE - len(before)])
        file = UsedFile(number, before + batch)
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(None, write_atomic, self._path(number), file.encode())
        writing.add_done_callback(lambda done: self._wrote(done, file, len(batch)))
        self._writing = writing
        return writing

    def _wrote(self, done: asyncio.Future[None], file: UsedFile, count: int) -> None:
        self._writing = None
        if done.cancelled() or done.exception() is not None:
            return  # whoever waits hears of it; what is new is still new
        self._latest = file
        self._written += count
        del self._new[:count]


def parse_used(data: bytes) -> UsedFile:
    """
    Raises:
        ValueError: it is none of ours, or a bit of it has turned.
    """
    digest, rest = data[:32], data[32:]
    if fingerprint(rest) != digest:
        raise ValueError("its checksum does not match")
    ids = rest[len(MAGIC) + 8 :]
    if not rest.startswith(MAGIC) or len(data) < _HEAD_BYTES or len(ids) % ID_BYTES:
        raise ValueError("it is no list of approvals that have served")
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it holds more than {PER_FILE} approvals")
    names = tuple(ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))
    return UsedFile(int.from_bytes(rest[len(MAGIC) : len(MAGIC) + 8], "big"), names)
