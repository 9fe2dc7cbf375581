"""The bytes of adverts: pages of a table, the question for one, and the digest in a heartbeat.

A page that ends where the table stands may carry the owner's proof: its signature over the start,
the version and the hash of the whole table. With it, others can pass the table on.

What this module does not know: what an entry means, who has said what before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from p2p.wire import PayloadError, decode_payload, encode_payload

MAX_INTEGER = 2**63 - 1
VERSION_BYTES = 8
HASH_BYTES = 16
DIGEST_BYTES = VERSION_BYTES + HASH_BYTES  # a heartbeat has room for 64
SIGNATURE_BYTES = 64
DOMAIN = "adverts"
OWN_PREFIX = "/"  # of entries that are no agents: no agent has such a name
LISTENS = "/listens"  # to which topics

Entry = tuple[str, bytes | None]  # None: there is no such entry any more


class Proof(NamedTuple):
    """The owner's word on its whole table at one version."""

    table_hash: bytes
    signature: bytes


class Page(NamedTuple):
    """All that changed in a table after one version and up to another, oldest change first.

    Attributes:
        incarnation: of the owner; each of its starts begins a new table.
        latest: the table's version when this was said; above `upto`, more is to be asked for.
    """

    incarnation: int
    since: int
    upto: int
    latest: int
    entries: tuple[Entry, ...]
    proof: Proof | None = None  # of the table at `latest`, where that is `upto`

    @property
    def is_last(self) -> bool:
        return self.upto == self.latest


def encode_page(page: Page) -> bytes:
    entries = [list(entry) for entry in page.entries]
    return encode_payload([*page[:4], entries, *(page.proof or ())])


def decode_page(data: bytes) -> Page | None:
    """Read what a peer sent; None where it is no page, or one that leads nowhere."""
    fields = _list(data, 5)
    if fields is None or not _are_numbers(fields[:4]) or not isinstance(fields[4], list):
        return None
    incarnation, since, upto, latest, found = fields[:5]
    is_forward = since < upto <= latest or since == upto == latest
    entries = tuple((e[0], e[1]) for e in found if _is_entry(e))
    if not is_forward or len(entries) != len(found) or len(entries) > upto:
        return None
    proof = _proof_of(fields[5:7]) if upto == latest else None
    return Page(incarnation, since, upto, latest, entries, proof)


def _proof_of(fields: list[Any]) -> Proof | None:
    if [type(each) for each in fields] != [bytes, bytes]:
        return None
    proof = Proof(*fields)
    is_good = len(proof.table_hash) == HASH_BYTES and len(proof.signature) == SIGNATURE_BYTES
    return proof if is_good else None


def signed_body(incarnation: int, version: int, table_hash: bytes) -> bytes:
    """What the owner's signature covers; its key stands for the owner."""
    return incarnation.to_bytes(8, "big") + digest_bytes(version, table_hash)


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and type(entry[0]) is str
        and (entry[1] is None or type(entry[1]) is bytes)
    )


def encode_since(incarnation: int, version: int) -> bytes:
    return encode_payload([incarnation, version])


def read_since(data: bytes) -> tuple[int, int] | None:
    """Return the incarnation and the version that a reader has; None where it is no question."""
    fields = _list(data, 2)
    if fields is None or not _are_numbers(fields[:2]):
        return None
    return fields[0], fields[1]


def digest_bytes(version: int, table_hash: bytes) -> bytes:
    assert len(table_hash) == HASH_BYTES
    return version.to_bytes(VERSION_BYTES, "big") + table_hash


def read_digest(digest: bytes) -> tuple[int, bytes] | None:
    """Return the version and the hash of a table; None where it is no digest."""
    if len(digest) < DIGEST_BYTES:
        return None
    version = int.from_bytes(digest[:VERSION_BYTES], "big")
    return (version, digest[VERSION_BYTES:DIGEST_BYTES]) if version <= MAX_INTEGER else None


def is_of_nothing(digest: bytes) -> bool:
    """Whether it is of a table into which nothing was ever put."""
    said = read_digest(digest)
    return said is not None and said[0] == 0


def _list(data: bytes, least: int) -> list[Any] | None:
    try:
        fields = decode_payload(data)
    except PayloadError:
        return None
    return fields if isinstance(fields, list) and len(fields) >= least else None


def _are_numbers(fields: list[Any]) -> bool:
    return all(type(n) is int and 0 <= n <= MAX_INTEGER for n in fields)
