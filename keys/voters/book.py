"""What a node remembers of who votes: the statements that it believes, in one file of its home.

So that a node that was down is not told what was true before, by voters who are none any more.
The last statement is what it believes; those before lead others there. A file that is damaged is
an error, never less: a node that forgot could be led astray.

Durable before anybody is told (`agents.vouching`); written as a whole.

What this module does not know: which statements to believe, who brought them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keys.canonical import NotCanonical, decode, encode
from keys.errors import HomeDamaged
from keys.files import read_file, write_atomic
from keys.identity import NetworkId, fingerprint
from keys.voters.statement import MAX_VOTERS_BYTES, VotersRefused, VotersStatement

FILE: Final = "voters"
MAX_KEPT: Final = 64
MAX_BOOK_BYTES: Final = MAX_KEPT * (MAX_VOTERS_BYTES + 8)


class VotersBook:
    """The file `voters` of a home."""

    def __init__(self, home: Path, network_id: NetworkId) -> None:
        self._path = home / FILE
        self._network_id = network_id

    def load(self) -> tuple[VotersStatement, ...]:
        """In the order of their places; none if there is no file.

        Raises:
            HomeUnreadable, HomeDamaged.
        """
        data = read_file(self._path, MAX_BOOK_BYTES)
        if data is None:
            return ()
        try:
            found = parse_voters_book(data)
        except VotersRefused as error:
            raise HomeDamaged(self._path, error.problem) from error
        if any(each.network_id != self._network_id for each in found):
            raise HomeDamaged(self._path, "it is of another network")
        return found

    def save(self, statements: Sequence[VotersStatement]) -> None:
        """Replace it, durably.

        Raises:
            HomeUnreadable
        """
        assert len(statements) <= MAX_KEPT, "the caller chooses"
        write_atomic(self._path, voters_book_bytes(statements))


def voters_book_bytes(statements: Sequence[VotersStatement]) -> bytes:
    """The statements in the order of their places, behind a fingerprint of them."""
    ordered = sorted(statements, key=lambda each: each.who.place)
    body = encode([each.encode() for each in ordered])
    return fingerprint(body) + body


def parse_voters_book(data: bytes) -> tuple[VotersStatement, ...]:
    """
    Raises:
        VotersRefused: it is none, or a bit of it has turned.
    """
    digest, body = data[:32], data[32:]
    if fingerprint(body) != digest:
        raise VotersRefused("its checksum does not match")
    try:
        items = decode(body, MAX_BOOK_BYTES)
    except NotCanonical as error:
        raise VotersRefused(str(error)) from error
    if not isinstance(items, list) or len(items) > MAX_KEPT:
        raise VotersRefused(f"it is no list of at most {MAX_KEPT} statements")
    found = []
    for item in items:
        if type(item) is not bytes:
            raise VotersRefused("a statement of it is not bytes")
        found.append(VotersStatement.decode(item))
    places = [each.who.place for each in found]
    if places != sorted(set(places)):
        raise VotersRefused("its statements are not in order")
    return tuple(found)
