"""Topics as a program sees them: the part of `Net` that publishes and subscribes.

What this module does not know: how the node orders, repairs and keeps what is published.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from typing import Any, NamedTuple

from agents.amounts import seconds, whole
from agents.hosting.values import from_bytes, to_bytes
from agents.local import Gate
from p2p import Policy

DEFAULT_WAIT_S = 10.0


class Message(NamedTuple):
    """One publication.

    Attributes:
        sender: the authenticated peer that published it.
        gap: how many publications of this sender on this topic were lost just before this one.
    """

    topic: str
    sender: str
    sender_name: str
    sequence: int
    gap: int
    value: Any


class Publishing:
    """Publishes and subscribes."""

    _gate: Gate

    async def publish(
        self,
        topic: str,
        value: Any,
        *,
        wait_subscribers: int = 0,
        timeout: float = DEFAULT_WAIT_S,
        only_roles: Collection[str] = (),
        only_peers: Collection[str] = (),
        sealed: bool = False,
    ) -> int:
        """Send a value to all who subscribe to this topic, and return its number.

        A publisher that is quicker than its subscribers is slowed down, until a subscriber that
        takes nothing at all is left behind.

        Args:
            topic: levels of text with "/" between them; "a/b" lies in the subtree "a/".
            wait_subscribers: first wait until so many other peers listen.
            timeout: for that wait, in seconds.
            only_roles: of "service", "observer", "manager", "admin": only who holds one reads it.
            only_peers: only these read it: whole ids, or names or starts of ids of living peers.
                With both, it is enough to fit one of them.
            sealed: seal it for those of them that are here now, and named ones that were met, 64
                at most: what is kept of it in histories is closed to everybody else.

        Raises:
            NotEnoughSubscribers: nobody else listens in time; it was not published.
            PermissionDenied: this node's roles do not include publishing.
            NoSealingKey, HybridUnavailable: it cannot be sealed for a reader; not published.
            BadTopic, PayloadTooLarge, InvalidArguments, PeerUnreachable: it was not published.
        """
        params: dict[str, Any] = {"topic": topic, "value": to_bytes(value)}
        if wait_subscribers:
            params["wait_subscribers"] = whole("publish", "wait_subscribers", wait_subscribers)
            params["timeout_s"] = seconds("publish", "timeout", timeout)
        if only_roles or only_peers:
            params |= {"only_roles": list(only_roles), "only_peers": list(only_peers)}
        if sealed:
            params |= {"only_roles": list(only_roles), "only_peers": list(only_peers)}
            params["sealed"] = True
        return int(await self._gate.request("publish", params))

    @contextlib.asynccontextmanager
    async def subscribe(
        self,
        topic: str,
        *,
        buffer: int = 1000,
        policy: Policy = "drop_oldest",
        replay: int = 0,
        repair: bool = True,
    ) -> AsyncGenerator[AsyncIterator[Message], None]:
        """Receive a topic from all peers: `async with net.subscribe(t) as s: async for m in s`.

        The messages of one sender on one topic come in order, each at most once; what was lost
        under way is asked for while its sender keeps it, and what stays lost is counted in the
        next message's `gap`.

        Args:
            topic: "a/b", or "a/" for everything below it.
            buffer: how many messages wait for a program that reads too slowly.
            policy: what happens when they are more: "drop_oldest" and "drop_newest" lose some,
                "block" slows all publishers of this node's topics down, "error" ends it.
            replay: so many of the last messages of each topic and sender come first.
            repair: ask for what is missing; without, it is a gap at once.

        Raises:
            BadTopic, MisuseError: it cannot be subscribed to so.
            SubscriberTooSlow: policy "error", and more came than the buffer takes.
        """
        params = {
            "topic": topic,
            "buffer": whole("subscribe", "buffer", buffer, least=1),
            "policy": policy,
            "replay": whole("subscribe", "replay", replay),
            "repair": repair,
        }
        items = self._gate.stream("subscribe", params)
        async with contextlib.aclosing(_messages(items)) as messages:
            ready = await anext(items)
            assert ready == "subscribed"
            yield messages

    async def wait_subscribers(
        self, topic: str, count: int = 1, *, timeout: float = DEFAULT_WAIT_S
    ) -> None:
        """Return when so many other peers listen to this topic.

        Raises:
            NotEnoughSubscribers: they do not in time.
        """
        what = "wait_subscribers"
        params = {
            "topic": topic,
            "count": whole(what, "count", count),
            "timeout_s": seconds(what, "timeout", timeout),
        }
        await self._gate.request("wait_subscribers", params)

    async def keep_history(
        self, topic: str, *, messages: int = 256, max_bytes: int = 1024 * 1024
    ) -> None:
        """Keep so much of what this node publishes on a topic, for those who come later."""
        what = "keep_history"
        params = {
            "topic": topic,
            "messages": whole(what, "messages", messages),
            "max_bytes": whole(what, "max_bytes", max_bytes),
        }
        await self._gate.request("keep_history", params)


async def _messages(items: AsyncIterator[Any]) -> AsyncGenerator[Message, None]:
    try:
        async for batch in items:
            for topic, sender, sender_name, sequence, gap, value in batch:
                yield Message(topic, sender, sender_name, sequence, gap, from_bytes(value))
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
