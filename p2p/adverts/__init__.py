"""What peers offer: one table a peer, told by its owner in changes, and compared by digests."""

from p2p.adverts.messages import Page, decode_page, encode_page, read_digest, read_since
from p2p.adverts.own import OwnTable
from p2p.adverts.service import AdvertService
from p2p.adverts.tables import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_NAME_CHARS,
    MAX_TABLE_BYTES,
    Changes,
    Tables,
    digest_of,
)

__all__ = [
    "MAX_ENTRIES",
    "MAX_ENTRY_BYTES",
    "MAX_NAME_CHARS",
    "MAX_TABLE_BYTES",
    "AdvertService",
    "Changes",
    "OwnTable",
    "Page",
    "Tables",
    "decode_page",
    "digest_of",
    "encode_page",
    "read_digest",
    "read_since",
]
