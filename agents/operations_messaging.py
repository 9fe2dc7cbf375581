"""What programs on this machine may ask of the node about topics: a part of its operations.

What this module does not know: sockets, printing, how topics are kept in order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from agents.addressing import peer_or_id
from agents.errors import InvalidArguments
from agents.local import Table
from keys import PeerId, Principal, Role

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

Only = Callable[[Principal], bool]
BATCH = 64  # publications that travel to a program together


def topic_operations(node: NodeParts) -> Table:
    """Return the operations of topics."""
    topics = _Topics(node)
    return Table(
        {
            "keep_history": topics.keep_history,
            "publish": topics.publish,
            "wait_subscribers": topics.wait_subscribers,
        },
        {"subscribe": topics.subscribe},
        {},
    )


class _Topics:
    def __init__(self, node: NodeParts) -> None:
        self._node = node

    async def publish(self, params: Mapping[str, Any]) -> int:
        topic = str(params["topic"])
        if "wait_subscribers" in params:
            await self._wait(topic, int(params["wait_subscribers"]), float(params["timeout_s"]))
        wanted = params.get("only_roles") or params.get("only_peers")
        only = self._only(params) if wanted else None
        payload: bytes = params["value"]
        if params.get("sealed"):
            payload, only = await self._sealed(topic, payload, only, params)
        await self._node.peer.room_to_publish()
        return self._node.peer.publish(topic, payload, only=only)

    async def _sealed(
        self, topic: str, payload: bytes, only: Only | None, params: Mapping[str, Any]
    ) -> tuple[bytes, Only]:
        """Return the payload sealed for those who may read it now, and a word for just them.

        Raises:
            InvalidArguments: it is for everybody, or for nobody who is here.
        """
        peer = self._node.peer
        if only is None:
            raise InvalidArguments("publish", "say for whom it is sealed, as only_peers=[...]")
        members = (peer.member(peer_id) for peer_id in peer.presence.present())
        present = [peer.principal, *(each for each in members if each is not None)]
        named = {peer_or_id(peer, str(word)) for word in params["only_peers"]}
        readers = frozenset(named | {who.peer_id for who in present if only(who)})
        if not readers:
            raise InvalidArguments("publish", "nobody who may read it is here now")
        sealed = await self._node.sealed_topics.seal(topic, payload, readers)
        return sealed, lambda who: who.peer_id in readers

    async def wait_subscribers(self, params: Mapping[str, Any]) -> None:
        await self._wait(str(params["topic"]), int(params["count"]), float(params["timeout_s"]))

    async def keep_history(self, params: Mapping[str, Any]) -> None:
        self._node.peer.keep_history(
            str(params["topic"]),
            messages=int(params["messages"]),
            bytes_=int(params["max_bytes"]),
        )

    async def subscribe(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        peer = self._node.peer
        subscription = peer.subscribe(
            str(params["topic"]),
            buffer=int(params["buffer"]),
            policy=params["policy"],
            replay=int(params["replay"]),
            repair=bool(params["repair"]),
        )
        reader = self._node.sealed_topics.reader()
        try:
            yield "subscribed"
            while found := await subscription.next_batch(BATCH):
                batch = reader.open(found)
                names = {sender: peer.label(sender) for sender in {m.sender for m in batch}}
                yield [[m[0], m[1], names[m[1]], m[2], m[3], m[4]] for m in batch]
        finally:
            subscription.close()

    async def _wait(self, topic: str, count: int, timeout_s: float) -> None:
        await self._node.peer.wait_subscribers(topic, count, timeout_s)

    def _only(self, params: Mapping[str, Any]) -> Callable[[Principal], bool]:
        """Return who may read it.

        Raises:
            InvalidArguments: there is no such role.
            PeerUnreachable: a name is nobody's.
        """
        roles = Role(0)
        for word in params["only_roles"]:
            if str(word).upper() not in Role.__members__:
                known = ", ".join(name.lower() for name in Role.__members__)
                raise InvalidArguments("publish", f"role {word!r} is none of {known}")
            roles |= Role[str(word).upper()]
        peers = {self._reader(str(word)) for word in params["only_peers"]}
        return lambda who: bool(who.roles & roles) or who.peer_id in peers

    def _reader(self, wanted: str) -> PeerId:
        return peer_or_id(self._node.peer, wanted)  # one that is away now may read it later
