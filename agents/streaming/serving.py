"""The receiving side of streams: what another peer opens reaches the host.

    agents.stream   open with the message of a call: [capability, [positional, ...], {name: value}]
                    the first chunk from here says that the handler has begun; every further chunk,
                    in both directions, is one value or a part of a file. A sealed stream opens
                    with 0xc1 and a sealed message, see `agents.sealing.streams`

Whatever is refused ends the stream with the refusal instead of the first chunk. When a policy
changes, the streams that it no longer allows end with a refusal too, wherever their handlers are.

What this module does not know: how a handler runs, how chunks travel, who is asked and why.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agents.calling import read_message
from agents.hosting import Channel, to_bytes
from agents.hosting.host import Accepted, AgentHost, MakeContext
from agents.sealing import SealedPipe, SealedStreams
from keys import Action, KeystoreError, Permission, Principal
from keys.sealing import SealedRefused
from p2p import BadRequest, Incoming, Overloaded, Peer, PermissionDenied, Stream

log = logging.getLogger("conclave.agents.streaming")

STREAM: Final = "agents.stream"
BEGUN: Final = to_bytes(["begun"])
MAX_RUNNING = 4096


class StreamServing:
    """Serves `agents.stream`."""

    def __init__(
        self, peer: Peer, host: AgentHost, context: MakeContext, sealed_streams: SealedStreams
    ) -> None:
        self._name = peer.name
        self._host = host
        self._make_context = context
        self._peer = peer
        self._running: dict[asyncio.Task[None], tuple[Principal, str]] = {}
        self._refused: dict[asyncio.Task[None], str] = {}
        peer.guard.listeners.append(self._rights_changed)
        self._sealed_streams = sealed_streams
        peer.serve_stream(STREAM, self._handle, permission=Permission.CALL, limit=MAX_RUNNING)

    async def _handle(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        caller = incoming.caller.peer_id
        try:
            session_key, payload = self._sealed_streams.answer(caller, payload)
        except SealedRefused as error:
            raise BadRequest(self._name, STREAM, str(error)) from None
        except KeystoreError as error:  # ours to mend, and the caller may find another
            log.error("no sealed stream can be accepted: %s", error)
            raise Overloaded(self._name, STREAM, "it cannot write to its disk") from None
        capability, args, kwargs = read_message(payload, self._name)
        self._peer.check(incoming.caller, Action.STREAM, capability)
        accepted = self._host.accept(capability, args, kwargs, incoming, is_streamed=True)
        pipe: Stream | SealedPipe = stream
        if session_key is not None:
            pipe = self._sealed_streams.pipe(stream, session_key, caller)
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = (incoming.caller, capability)
        try:
            await self._begin(accepted, pipe)
            await self._host.stream(accepted, self._make_context, Channel(pipe, capability))
            if isinstance(pipe, SealedPipe):
                await pipe.end()
        except asyncio.CancelledError:
            why = self._refused.get(task)
            if why is None:
                raise
            task.uncancel()
            raise PermissionDenied(self._name, capability, why) from None
        finally:
            del self._running[task]
            self._refused.pop(task, None)

    async def _begin(self, accepted: Accepted, pipe: Stream | SealedPipe) -> None:
        try:
            await pipe.write(BEGUN)
        except BaseException:
            self._host.give_back(accepted)
            raise

    def _rights_changed(self) -> None:
        for task, (began_as, capability) in list(self._running.items()):
            caller = self._peer.principal_of(began_as.peer_id) or began_as
            why = self._peer.guard.refusal(caller, Action.STREAM, capability)
            if why is not None and task not in self._refused:
                self._refused[task] = why
                task.cancel()
