"""What programs on this machine may ask of the node about policies.

What this module does not know: sockets, printing, how a policy is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.addressing import peer_named
from agents.errors import InvalidArguments
from agents.local import Table
from keys import Action, PeerId, Principal, Role, permissions_of

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


def policy_operations(node: NodeParts) -> Table:
    """Return the operations of policies."""
    policy = _Policy(node)
    return Table(
        {
            "policy.explain": policy.explain,
            "policy.reset": policy.reset,
            "policy.set": policy.set,
            "policy.show": policy.show,
        },
        {},
        {},
    )


class _Policy:
    def __init__(self, node: NodeParts) -> None:
        self._node = node

    async def show(self, params: Mapping[str, Any]) -> dict[str, Any]:
        policing, guard = self._node.policing, self._node.peer.guard
        held = policing.held
        return {
            "path": str(policing.store.path),
            "file": None if guard.file is None else guard.file.text,
            "replicated": None if held is None else held.text,
            "entry": None if held is None else held.place.index,
        }

    async def set(self, params: Mapping[str, Any]) -> int:
        text, is_forced = str(params["text"]), bool(params["force"])
        return await self._node.policing.set(text, is_forced=is_forced)

    async def reset(self, params: Mapping[str, Any]) -> int:
        return await self._node.policing.reset()

    async def explain(self, params: Mapping[str, Any]) -> dict[str, Any]:
        word = str(params["action"])
        if word not in tuple(Action):
            known = ", ".join(Action)
            raise InvalidArguments("explain", f"action {word!r} is none of {known}")
        who = self._principal(str(params["who"]))
        verdict = self._node.peer.guard.judge(who, Action(word), str(params["what"]))
        return {
            "who": who.name,
            "allowed": verdict.is_allowed,
            "source": verdict.source.value,
            "rule": verdict.rule or None,
            "why": verdict.why,
        }

    def _principal(self, wanted: str) -> Principal:
        """A living peer; or somebody who has this role and every namespace, and no name.

        Raises:
            PeerUnreachable, InvalidArguments: there is none.
        """
        if wanted.startswith("role:"):
            role = wanted.removeprefix("role:").upper()
            if role not in Role.__members__:
                known = ", ".join(name.lower() for name in Role.__members__)
                raise InvalidArguments("explain", f"{wanted!r}: the roles are {known}")
            return replace(
                self._node.peer.principal,
                peer_id=PeerId(""),
                name=wanted,
                roles=Role[role],
                permissions=permissions_of(Role[role]),
                namespaces=("*",),
                certificate_digest=b"",
            )
        found = self._node.peer.member(peer_named(self._node.peer, wanted))
        assert found is not None, "a peer that is present has shown its papers"
        return found
