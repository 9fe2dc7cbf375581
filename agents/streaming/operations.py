"""The node's operation behind `net.stream` and `net.open`: a program's channel, joined to a stream.

The first item to the program says who answers; what follows are the chunks of the stream, both
ways, at the pace of the slower side.

What this module does not know: sockets, what the chunks hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from agents.calling import Wishes
from agents.hosting import to_bytes
from agents.local import GateChannel, Table
from agents.streaming.opening import Opened, Opening

WishesOf = Callable[[Mapping[str, Any]], Wishes]


def stream_operations(opening: Opening, wishes_of: WishesOf) -> Table:
    """Return the operations of streams.

    Args:
        wishes_of: reads how a caller wants to be served out of the parameters.
    """

    async def run(params: Mapping[str, Any], channel: GateChannel) -> None:
        deadline_s = params["deadline_s"]
        opened = await opening.open(
            str(params["capability"]),
            params["message"],
            None if deadline_s is None else float(deadline_s),
            wishes_of(params),
            params.get("window_bytes"),
            is_sealed=bool(params.get("sealed")),
        )
        await _join(opened, channel)

    return Table({}, {}, {"open": run})


async def _join(opened: Opened, channel: GateChannel) -> None:
    """Hand on in both directions until both have ended."""
    sending = asyncio.get_running_loop().create_task(_send(opened, channel))
    try:
        await channel.send(to_bytes(opened.peer))
        async for chunk in opened:
            await channel.send(chunk)
        channel.end()
        await sending
    except asyncio.CancelledError:
        opened.abort(channel.aborted or "the program that opened it has gone")
        raise
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await opened.aclose()


async def _send(opened: Opened, channel: GateChannel) -> None:
    async for chunk in channel:
        await opened.write(chunk)
    await opened.finish()
    channel.confirm()
