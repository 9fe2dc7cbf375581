"""What peers offer: one table a peer, told by its owner in changes, and compared by digests.

Where not everybody has a link to everybody, members pass on what owners have signed.
"""

from p2p.adverts.headings import Heading, Headings
from p2p.adverts.messages import (
    DOMAIN,
    LISTENS,
    OWN_PREFIX,
    Page,
    Proof,
    decode_page,
    encode_page,
    read_digest,
    read_since,
    signed_body,
)
from p2p.adverts.own import OwnTable
from p2p.adverts.relaying import Crowd
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
    "DOMAIN",
    "LISTENS",
    "MAX_ENTRIES",
    "MAX_ENTRY_BYTES",
    "MAX_NAME_CHARS",
    "MAX_TABLE_BYTES",
    "OWN_PREFIX",
    "AdvertService",
    "Changes",
    "Crowd",
    "Heading",
    "Headings",
    "OwnTable",
    "Page",
    "Proof",
    "Tables",
    "decode_page",
    "digest_of",
    "encode_page",
    "read_digest",
    "read_since",
    "signed_body",
]
