"""What programs on this machine may ask of the node about decisions.

What this module does not know: sockets, printing, how a quorum decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.deciding import Wish
from agents.errors import InvalidArguments
from agents.local import Table
from consensus.ballots import Choice

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


def deciding_operations(node: NodeParts) -> Table:
    """Return the operations of decisions."""
    deciding = _Deciding(node)
    return Table(
        {
            "decide": deciding.decide,
            "decide.cast": deciding.cast,
            "decide.list": deciding.list,
            "decide.view": deciding.view,
        },
        {},
        {},
    )


class _Deciding:
    def __init__(self, node: NodeParts) -> None:
        self._node = node

    async def decide(self, params: Mapping[str, Any]) -> dict[str, Any]:
        wish = Wish.from_wire(list(params["wish"]))
        if wish is None:
            raise InvalidArguments("decide", "text, bytes, names and whole numbers are expected")
        key = params["key"]
        return await self._node.deciding.decide(wish, None if key is None else str(key))

    async def view(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return await self._node.deciding.view(str(params["id"]))

    async def list(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self._node.deciding.list(int(params["limit"]))

    async def cast(self, params: Mapping[str, Any]) -> dict[str, Any]:
        word = str(params["choice"])
        choice = {each.name.lower(): each for each in Choice}.get(word)
        if choice is None:
            words = ", ".join(each.name.lower() for each in Choice)
            raise InvalidArguments("cast", f"{word!r} is none of {words}")
        return await self._node.deciding.cast(str(params["id"]), choice, str(params["reason"]))
