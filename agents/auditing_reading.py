"""Reading audit logs: another member's, in pages, and the heads of ours that others hold.

Whoever reads gets entries and checkpoints as they were written, and can verify them.

What this module does not know: what is shown of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.addressing import peer_named
from agents.errors import InvalidArguments
from agents.local import Table
from keys import PeerId, Permission
from keys.auditing import read_audit
from p2p import Incoming, PayloadError, Peer, decode_payload, encode_payload

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

READ = "audit.read"
PAGE_BYTES = 256 * 1024
READ_S = 10.0
READERS = 2


class AuditReading:
    """Serves this node's audit log to those who may read it."""

    def __init__(self, peer: Peer, home: Path) -> None:
        self._directory = home / "audit"
        self._peer = peer
        peer.serve(READ, self._on_read, permission=Permission.AUDIT_READ, limit=READERS)

    async def read(self, peer_id: PeerId, since: int) -> list[bytes]:
        """Return a page of another's log, from this entry on; empty where it ends.

        Raises:
            P2PError: it refuses, or cannot be reached.
            PayloadError: it answers nonsense.
        """
        asked = encode_payload([since])
        said = decode_payload(await self._peer.request(peer_id, READ, asked, timeout_s=READ_S))
        if not (isinstance(said, list) and all(type(raw) is bytes for raw in said)):
            raise PayloadError("it is no page of an audit log")
        return said

    async def _on_read(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = decode_payload(payload)
        since = fields[0] if isinstance(fields, list) and fields else None
        if type(since) is not int or since < 1:
            raise InvalidArguments(READ, "it names no entry")
        return encode_payload(await asyncio.to_thread(self._page, since))

    def _page(self, since: int) -> list[bytes]:
        page: list[bytes] = []
        size = 0
        for one in read_audit(self._directory, since):
            size += len(one.raw)
            if size > PAGE_BYTES:
                break
            page.append(one.raw)
        return page


def audit_operations(node: NodeParts) -> Table:
    """Return the operations of audit logs."""

    async def read(params: Mapping[str, Any]) -> list[bytes]:
        to = peer_named(node.peer, str(params["peer"]))
        return await node.auditing.reading.read(to, int(params["since"]))

    async def held(params: Mapping[str, Any]) -> list[Any]:
        found = await node.auditing.heads.held_by_others()
        return [[node.peer.label(who), one.raw] for who, one in found]

    return Table({"audit.read": read, "audit.held": held}, {}, {})
