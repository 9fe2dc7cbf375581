"""The collectors of one node: one for each question that it asked, or took over.

What this module does not know: what was asked and why, who votes, what the log makes of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agents.deciding import Collecting
from agents.deciding import wire as deciding_wire
from agents.errors import NoQuorum, OutcomeUnknown
from agents.tasking import Asking, wire
from consensus.ballots import Proposal
from keys import PeerId, Permission
from p2p import P2PError, PayloadError, Peer, decode_payload, encode_payload

log = logging.getLogger("conclave.agents.deciding")

ASK_S: Final = 3.0
RECORD_S: Final = 10.0
PAUSE_S: Final = 1.0
FINISHED_KEPT: Final = 64  # they still notice who contradicts itself


class Collectors:
    """Those that run, and the latest that have ended.

    Args:
        answer: this node's own ballot, or why there is none.
        on_view: hears how a decision stood when something was recorded.
    """

    def __init__(
        self,
        peer: Peer,
        asking: Asking,
        now_ms: Callable[[], int],
        answer: Callable[[PeerId, bytes], Awaitable[tuple[bytes | None, str | None]]],
        on_view: Callable[[str, Any], None],
    ) -> None:
        self._peer = peer
        self._asking = asking
        self._now_ms = now_ms
        self._answer = answer
        self._on_view = on_view
        self._collecting: dict[str, Collecting] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        peer.serve_notice(deciding_wire.BALLOT, self._on_ballot, permission=Permission.CONSENSUS)

    async def close(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for collecting in self._collecting.values():
            await collecting.close()

    def begin(self, proposal: Proposal) -> None:
        """Collect its ballots, if that is not done already."""
        key = proposal.proposal_id
        if key in self._running:
            return
        collecting = Collecting(
            proposal,
            self._ask_for_ballot,
            lambda what, data: self._record(key, what, data),
            self._now_ms,
        )
        self._collecting.pop(key, None)
        self._collecting[key] = collecting
        task = asyncio.get_running_loop().create_task(collecting.run())
        self._running[key] = task
        task.add_done_callback(lambda _: self._ran(key))

    def receive(self, sender: str, key: str, ballot: bytes) -> None:
        """A ballot that came without being asked for now."""
        collecting = self._collecting.get(key)
        if collecting is not None:
            collecting.receive(sender, ballot)

    def end(self, key: str) -> None:
        """The log has ended it."""
        collecting = self._collecting.get(key)
        if collecting is not None:
            collecting.end()

    def _ran(self, key: str) -> None:
        del self._running[key]
        finished = [each for each in self._collecting if each not in self._running]
        for old in finished[:-FINISHED_KEPT]:
            del self._collecting[old]

    async def _ask_for_ballot(self, peer_id: str, raw: bytes) -> bytes | None:
        own = self._peer.peer_id
        try:
            if peer_id == own:
                ballot, why = await self._answer(own, raw)
            else:
                said = await self._peer.request(
                    PeerId(peer_id), deciding_wire.ASK, encode_payload(raw), timeout_s=ASK_S
                )
                ballot, why = deciding_wire.pair(decode_payload(said))
        except (P2PError, PayloadError) as error:
            log.debug("no ballot: %s", error)
            return None
        if why:
            log.info("%s does not vote: %s", self._peer.label(PeerId(peer_id)), why)
        return ballot if isinstance(ballot, bytes) else None

    async def _record(self, key: str, what: str, data: bytes) -> None:
        """Have it in the log, however long it takes."""
        while True:
            try:
                said = await self._asking.ask(deciding_wire.RECORD, [what, data], RECORD_S)
            except (NoQuorum, OutcomeUnknown) as error:
                log.info("%s on %s is not recorded yet: %s", what, key[:12], error)
                await asyncio.sleep(PAUSE_S)
                continue
            reply, view = deciding_wire.pair(said)
            log.info("%s on %s: %s", what, key[:12], reply)
            self._on_view(key, view)
            return

    def _on_ballot(self, peer_id: PeerId, payload: bytes) -> None:
        fields = wire.read_list(payload, 2)
        if fields and isinstance(fields[0], str) and isinstance(fields[1], bytes):
            self.receive(peer_id, fields[0], fields[1])
