"""What was published while the link to a listener was on its way: it asks for that, once.

A listener that is known from its adverts alone has subscribed to nothing here yet. From the first
message on that it misses, all of the topic is due to it; it asks as soon as there is a link, and
holds what comes meanwhile.

What this module does not know: how links are made, what a listener does with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from keys import PeerId, Permission
from p2p.errors import BadRequest
from p2p.links import Transport
from p2p.pubsub.archive import Archive
from p2p.pubsub.messages import decode_ask, encode_page
from p2p.pubsub.names import is_subscription, is_topic
from p2p.rpc import Exchange, Incoming

DUE = "topics.due"
KEPT_S = 60.0  # who has not come by then has missed it
MAX_TOPICS = 1_024  # that something of is due to one listener
WAIT_S, PAUSE_S = 0.2, 0.02  # for its subscription, so that nothing falls between


class Arrears:
    """See the module."""

    def __init__(
        self, own_name: str, archive: Archive, transport: Transport, exchange: Exchange
    ) -> None:
        self._own_name = own_name
        self._archive = archive
        self._transport = transport
        self._owed: dict[PeerId, tuple[float, dict[str, int]]] = {}
        exchange.serve(DUE, self._give, Permission.SUBSCRIBE_METADATA)

    def owe(self, peer_id: PeerId, topic: str, first: int) -> None:
        """This listener misses this message, and those after it."""
        now_s = asyncio.get_running_loop().time()
        until_s, owed = self._owed.get(peer_id, (0.0, {}))
        if now_s >= until_s:
            self._owed = {p: each for p, each in self._owed.items() if each[0] > now_s}
            owed = {}
            self._owed[peer_id] = now_s + KEPT_S, owed
        if len(owed) < MAX_TOPICS:
            owed.setdefault(topic, first)

    def forget(self, peer_id: PeerId) -> None:
        self._owed.pop(peer_id, None)

    async def _give(self, incoming: Incoming, payload: bytes) -> bytes:
        ask = decode_ask(payload)
        if ask is None or not is_subscription(ask.name):
            raise BadRequest(self._own_name, DUE, "that is no question about what is due")
        caller = incoming.caller
        await self._subscribed(caller.peer_id, ask.name)
        return encode_page(self._archive.read(ask, caller, self._due_to(caller.peer_id)))

    async def _subscribed(self, peer_id: PeerId, name: str) -> None:
        topic = f"{name}0" if name.endswith("/") else name  # some topic that it would hear
        if not is_topic(topic):
            return
        for _ in range(int(WAIT_S / PAUSE_S)):
            if peer_id in self._transport.subscribers(topic):
                return
            await asyncio.sleep(PAUSE_S)

    def _due_to(self, peer_id: PeerId) -> Mapping[str, int]:
        until_s, owed = self._owed.get(peer_id, (0.0, {}))
        return owed if asyncio.get_running_loop().time() < until_s else {}
