"""What programs on this machine may ask of the node about revocations.

What this module does not know: sockets, printing, how lists are signed or spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.local import Table
from agents.revoking import Wish, wish_of, wish_of_all, words_of
from keys import EntryKind, PeerId, decode_id, encode_id

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


def trust_operations(node: NodeParts) -> Table:
    """Return the operations of revocation."""
    trust = _Trust(node)
    return Table(
        {
            "trust.load": trust.load,
            "trust.plan": trust.plan,
            "trust.revocations": trust.revocations,
            "trust.revoke": trust.revoke,
        },
        {},
        {},
    )


class _Trust:
    def __init__(self, node: NodeParts) -> None:
        self._node = node

    async def plan(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What would be revoked, in words, and what a person should think of before."""
        wish = self._wish(params)
        return {"whom": self._words(wish), "warnings": self._warnings(wish)}

    async def revoke(self, params: Mapping[str, Any]) -> dict[str, Any]:
        wish = self._wish(params)
        return {"whom": self._words(wish), "by": await self._node.trusting.revoke(wish)}

    async def load(self, params: Mapping[str, Any]) -> dict[str, Any]:
        listed = self._node.trusting.load(bytes(params["packed"]))
        return {"signer": listed.signer.name, "number": listed.list.sequence}

    async def revocations(self, params: Mapping[str, Any]) -> dict[str, Any]:
        node = self._node
        held, now_ms = node.peer.trusting.revocations, node.world.clock.wall_ms()
        names = {decode_id(each.peer_id): each.name for each in node.trusting.known()}
        names |= {s: each.name for each in node.trusting.known() for s in each.serials}
        return {"lists": revocation_rows(held, names, now_ms), "head": held.head.hex()}

    def _wish(self, params: Mapping[str, Any]) -> Wish:
        before_ms = int(params.get("before_ms") or 0)
        reason = str(params.get("reason") or "")
        if params.get("target") is None:
            return wish_of_all(before_ms, reason)
        known = self._node.trusting.known()
        return wish_of(str(params["target"]), known, before_ms=before_ms, reason=reason)

    def _words(self, wish: Wish) -> str:
        if wish.kind is EntryKind.ALL:
            return "everything that this node has issued before that time"
        if wish.whom is not None:
            return f"{wish.whom.name} ({wish.whom.peer_id[:8]})"
        return wish.ident.hex() if wish.kind is EntryKind.SERIAL else encode_id(wish.ident)[:8]

    def _warnings(self, wish: Wish) -> list[str]:
        node = self._node
        if wish.kind is EntryKind.ALL:
            return ["members that are not renewed afterwards are cut off, perhaps this node too"]
        if wish.whom is None:
            return []
        peer_id, found = wish.whom.peer_id, []
        if peer_id == node.peer.peer_id:
            found.append("that is this node: it stops, and nobody lets it in any more")
            if node.keystore.issuer is not None:
                found.append("it issues certificates: nobody else may be here who can")
        if node.quorum.is_voter(PeerId(peer_id)):
            found += self._quorum_warning(peer_id)
        return found

    def _quorum_warning(self, peer_id: PeerId) -> list[str]:
        node = self._node
        voters = set(node.quorum.electorate.voters)
        alive = ({*node.peer.presence.present(), node.peer.peer_id} & voters) - {peer_id}
        needed = len(voters) // 2 + 1
        if len(alive) >= needed:
            return []
        return [
            f"it votes, and without it {len(alive)} of {len(voters)} voters are here where "
            f"{needed} are needed: nothing can be decided until more voters are here"
        ]


def revocation_rows(held: Any, names: dict[bytes, str], now_ms: int) -> list[dict[str, Any]]:
    """The lists in force as plain data, with names where they are known."""
    return [
        {
            "signer": each.signer.name,
            "key_id": encode_id(each.key_id),
            "is_root": each.is_root,
            "number": each.list.sequence,
            "issued_ms": each.list.issued_ms,
            "next_update_ms": each.list.next_update_ms,
            "age_s": max(0, now_ms - each.list.issued_ms) // 1000,
            "is_stale": now_ms > each.list.next_update_ms,
            "entries": [
                {
                    "what": words_of(entry, names),
                    "before_ms": entry.before_ms,
                    "revoked_ms": entry.revoked_ms,
                    "until_ms": entry.until_ms,
                    "reason": entry.reason,
                }
                for entry in each.list.entries
            ],
        }
        for each in held
    ]
