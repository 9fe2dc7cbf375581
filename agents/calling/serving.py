"""The receiving side: calls, notices and acknowledged messages of other peers reach the host.

A notice runs in the background under its handler's limit; one that cannot run is dropped and
counted by reason. An acknowledged message runs in the background after it was accepted; see
`Window` for why that happens at most once.

Each is judged as what it is (call, notice, message) and by the capability that it names; whatever a
handler asks for besides comes after that.

What this module does not know: how a handler runs, who is asked and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from agents.calling.messages import (
    ACCEPTED,
    CALL,
    NOTIFY,
    RESTARTED,
    SEND,
    SETTLED,
    Sent,
    read_message,
    read_notice,
    read_sent,
    refusal,
)
from agents.calling.window import Verdict, Window
from agents.hosting import to_bytes
from agents.hosting.host import Accepted, AgentHost, MakeContext
from keys import Action, PeerId, Permission
from p2p import (
    BadRequest,
    Clock,
    Incoming,
    NoSuchMethod,
    Overloaded,
    Peer,
    PermissionDenied,
    RemoteError,
)

log = logging.getLogger("conclave.agents.calling")

MAX_RUNNING = 16_384
GRACE_S = 0.3
_ACCEPTED, _RESTARTED, _SETTLED = (to_bytes([word]) for word in (ACCEPTED, RESTARTED, SETTLED))
_REASONS: dict[type[RemoteError], str] = {
    BadRequest: "bad_request",
    NoSuchMethod: "not_offered",
    PermissionDenied: "denied",
    Overloaded: "overloaded",
}


class Serving:
    """Serves `agents.call`, `agents.notify` and `agents.send`.

    Attributes:
        counts: what was dropped, repeated or failed out of anybody's sight.
    """

    def __init__(self, peer: Peer, host: AgentHost, clock: Clock, context: MakeContext) -> None:
        self._peer = peer
        self._host = host
        self._clock = clock
        self._make_context = context
        self._window = Window()
        host.on_denied = lambda who, what: peer.guard.deny(who, Action.CALL, what, "role")
        self._background: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        peer.serve(CALL, self._call, permission=Permission.CALL, limit=MAX_RUNNING)
        peer.serve(SEND, self._send, permission=Permission.CALL, limit=MAX_RUNNING)
        peer.serve_notice(NOTIFY, self._notice, permission=Permission.CALL)

    async def close(self) -> None:
        """Let what runs in the background end soon, or stop it."""
        if self._background:
            await asyncio.wait(self._background, timeout=GRACE_S)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _call(self, incoming: Incoming, payload: bytes) -> bytes:
        capability, args, kwargs = read_message(payload, self._peer.name)
        self._peer.check(incoming.caller, Action.CALL, capability)
        return await self._host.run_call(capability, args, kwargs, incoming, self._make_context)

    def _notice(self, peer_id: PeerId, payload: bytes) -> None:
        caller = self._peer.principal_of(peer_id)
        if caller is None:
            self.counts["notice_dropped_stranger"] += 1
            return
        try:
            priority, message = read_notice(payload, self._peer.name)
            incoming = Incoming(caller, NOTIFY, None, b"", priority)
            accepted = self._accept(Action.NOTIFY, message, incoming)
        except RemoteError as error:
            self.counts[f"notice_dropped_{_REASONS.get(type(error), 'refused')}"] += 1
            return
        self._run_later(accepted)

    async def _send(self, incoming: Incoming, payload: bytes) -> bytes:
        """Answer with a verdict, which is the same for every copy of the message.

        Raises:
            Overloaded: nothing is known of this copy; another may have been accepted.
        """
        sent = read_sent(payload, self._peer.name)
        if sent.for_start and sent.for_start != self._peer.incarnation:
            self.counts["send_for_another_start"] += 1
            return _RESTARTED
        caller = incoming.caller.peer_id
        verdict = self._window.look(
            caller, sent.start, sent.number, sent.floor, self._clock.now_ms()
        )
        if verdict is Verdict.NEW:
            return self._judge(sent, incoming)
        self.counts[f"send_{verdict.name.lower()}_before"] += 1
        if verdict is Verdict.ACCEPTED:
            return _ACCEPTED
        if verdict is Verdict.REFUSED:
            said = "an earlier copy of this message was refused"
            return refusal(Overloaded(self._peer.name, SEND, said))
        if verdict is Verdict.FULL:
            raise Overloaded(self._peer.name, SEND, "too many messages are under way")
        return _SETTLED

    def _judge(self, sent: Sent, incoming: Incoming) -> bytes:
        # The deadline is the sender's for being accepted, not the handler's.
        caller, priority = incoming.caller, incoming.priority
        unhurried = Incoming(caller, SEND, None, incoming.raw_trace, priority)
        try:
            accepted = self._accept(Action.SEND, sent.message, unhurried)
        except RemoteError as error:
            self._window.judge(caller.peer_id, sent.number, False)
            return refusal(error)
        self._window.judge(caller.peer_id, sent.number, True)
        self._run_later(accepted)
        return _ACCEPTED

    def _accept(self, action: Action, message: bytes, incoming: Incoming) -> Accepted:
        capability, args, kwargs = read_message(message, self._peer.name)
        self._peer.check(incoming.caller, action, capability)
        return self._host.accept(capability, args, kwargs, incoming)

    def _run_later(self, accepted: Accepted) -> None:
        task = asyncio.get_running_loop().create_task(self._run(accepted))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _run(self, accepted: Accepted) -> None:
        capability = accepted.hosted.handler.capability
        try:
            await self._host.run(accepted, self._make_context)
        except Exception as error:  # noqa: BLE001 - a handler is not ours, and nobody waits for it
            self.counts["background_failed"] += 1
            caller = accepted.incoming.caller.name
            log.warning("%s for %s failed: %s: %s", capability, caller, type(error).__name__, error)
