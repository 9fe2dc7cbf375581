"""News of a root that was rotated, over connections that there are already.

Heartbeats say how many successors of the first root their sender has seen, and the newest root's
key. Who hears of more asks for the line; it proves itself (`keys.verify_line`), and is on the disk
before it counts. So members need not meet anew, and one whose root was taught offline
(`conclave root learn`) teaches all others.

What this module does not know: how chains are renewed under the new root (`agents.renewing`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from keys import (
    Certificate,
    CertificateRefused,
    KeysError,
    PeerId,
    Permission,
    decode_line,
    encode_line,
    verify_line,
)
from p2p import Incoming, P2PError, PayloadError, Peer, decode_payload, encode_payload

log = logging.getLogger("conclave.agents.roots")

ROOTS: Final = "trust.roots"
ASK_TIMEOUT_S: Final = 3.0
MARK_BYTES: Final = 8
MAX_NUMBER: Final = 64


class RootNews:
    """
    Attributes:
        on_learned: hears the number of a root that is new here.
        conflict: why the line of somebody is not ours, if that was ever so in this start.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._asked: set[PeerId] = set()
        self._refused: set[tuple[PeerId, bytes]] = set()  # not asked again for the same
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_learned: Callable[[int], None] = lambda number: None
        self.conflict: str | None = None
        self.counts: Counter[str] = Counter()
        peer.serve(ROOTS, self._on_asked, permission=Permission.MEMBERSHIP)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def word(self) -> list[Any]:
        """For heartbeats: how many successors we know, and which root is the newest."""
        roots = self._roots()
        return [max(0, len(roots) - 1), roots[0].key_id[:MARK_BYTES] if len(roots) > 1 else b""]

    def on_heartbeat(self, peer_id: PeerId, status: bytes) -> None:
        """A peer says what it knows."""
        said = _word(status)
        if said is None or peer_id in self._asked or (peer_id, said[1]) in self._refused:
            return
        number, mark = said
        ours, our_mark = self.word()
        if number > ours or (number == ours and mark != our_mark):
            self._asked.add(peer_id)
            task = asyncio.get_running_loop().create_task(self._ask(peer_id, number, mark))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def learn(self, line: tuple[Certificate, ...], source: str) -> bool:
        """Take a line in; whether it was news.

        Raises:
            CertificateRefused: it is none of this network, or another than ours.
            KeystoreError: it could not be kept, and does not count.
        """
        seen = self._peer.trust.seen
        assert seen is not None, "a node remembers roots"
        verify_line(line, self._peer.trust)
        seen.judge(line, 0, 0)
        if not seen.learn(line):
            return False
        log.warning("the network has a new root, number %d, as %s says", seen.number, source)
        self.counts["learned"] += 1
        gathering = self._peer.gathering
        gathering.end_old_roots(seen, gathering.sessions)
        self.on_learned(seen.number)
        return True

    async def _ask(self, peer_id: PeerId, number: int, mark: bytes) -> None:
        who = self._peer.label(peer_id)
        try:
            said = decode_payload(
                await self._peer.request(peer_id, ROOTS, b"", timeout_s=ASK_TIMEOUT_S)
            )
            self.learn(decode_line(said if isinstance(said, bytes) else b""), who)
            if self._peer.trust.seen is not None and self._peer.trust.seen.number < number:
                self.counts["unproven"] += 1
                self._refused.add((peer_id, mark))
        except CertificateRefused as error:
            self.conflict = f"{who} has seen another root: {error}"
            self.counts["refused"] += 1
            self._refused.add((peer_id, mark))
            log.error("%s", self.conflict)
        except (P2PError, PayloadError, KeysError) as error:
            log.warning("the roots that %s knows are not learned: %s", who, error)
        finally:
            self._asked.discard(peer_id)

    async def _on_asked(self, incoming: Incoming, payload: bytes) -> bytes:
        return encode_payload(encode_line(self._roots()))

    def _roots(self) -> tuple[Certificate, ...]:
        seen = self._peer.trust.seen
        return (seen.roots if seen is not None else ()) or self._peer.papers.chain.roots


def _word(status: bytes) -> tuple[int, bytes] | None:
    try:
        match decode_payload(status):
            case [_, _, _, _, [int() as number, bytes() as mark, *_], *_]:
                is_good = 0 <= number <= MAX_NUMBER and len(mark) <= MARK_BYTES
                return (number, mark) if is_good else None
    except PayloadError:
        pass
    return None
