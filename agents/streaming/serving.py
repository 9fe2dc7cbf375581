"""The receiving side of streams: what another peer opens reaches the host.

    agents.stream   open with the message of a call: [capability, [positional, ...], {name: value}]
                    the first chunk from here says that the handler has begun; every further chunk,
                    in both directions, is one value or a part of a file

Whatever is refused ends the stream with the refusal instead of the first chunk.

What this module does not know: how a handler runs, how chunks travel, who is asked and why.
"""

from __future__ import annotations

from typing import Final

from agents.calling import read_message
from agents.hosting import Channel, to_bytes
from agents.hosting.host import AgentHost, MakeContext
from keys import Permission
from p2p import Incoming, Peer, Stream

STREAM: Final = "agents.stream"
BEGUN: Final = to_bytes(["begun"])
MAX_RUNNING = 4096


class StreamServing:
    """Serves `agents.stream`."""

    def __init__(self, peer: Peer, host: AgentHost, context: MakeContext) -> None:
        self._name = peer.name
        self._host = host
        self._make_context = context
        peer.serve_stream(STREAM, self._handle, permission=Permission.CALL, limit=MAX_RUNNING)

    async def _handle(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        capability, args, kwargs = read_message(payload, self._name)
        accepted = self._host.accept(capability, args, kwargs, incoming, is_streamed=True)
        try:
            await stream.write(BEGUN)
        except BaseException:
            self._host.give_back(accepted)
            raise
        await self._host.stream(accepted, self._make_context, Channel(stream, capability))
