"""`probe.reach`: which of our addresses can a peer reach, and does it hear us on mDNS?

    request  nothing
    answer   [heard, [[host, word], ...]]: heard is nil where mDNS is switched off

It must be of little use as a port scanner. So what is tried is never named by the question: the
addresses and the one port that the caller's own signed record holds; loopback ones are left out;
what counts is that the caller itself answers there, with its papers; the answer holds one of five
words and no text of a system; each caller is served once in `PAUSE_MS`, and few at a time.

What this module does not know: what is made of the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from keys import PeerId, Permission
from p2p import (
    Address,
    BadRequest,
    Clock,
    Incoming,
    IntroductionFailed,
    Overloaded,
    PayloadError,
    Peer,
    decode_payload,
    encode_payload,
    usable_address,
)

REACH = "probe.reach"
PAUSE_MS = 5_000
MAX_AT_ONCE = 4
MAX_ASKERS = 1024
MAX_HOSTS, MAX_HOST_CHARS = 8, 253
ASK_TIMEOUT_S = 8.0


_SOMEBODY_ELSE = frozenset(
    {"other_peer", "ourselves", "twin", "wrong_network", "bad_proof", "malformed", "version"}
)


class Reached(StrEnum):
    """What came of one address."""

    YES = "yes"
    REFUSED = "refused"  # the machine answers, and nothing listens there
    SILENT = "no answer"
    OTHER = "somebody else"  # another machine has this address, or another node that port
    SKIPPED = "not tried"


@dataclass(frozen=True, slots=True)
class Reach:
    """What one peer says of the way to us."""

    heard: bool | None
    hosts: Mapping[str, Reached]


def encode_reach(reach: Reach) -> bytes:
    return encode_payload([reach.heard, [[h, word.value] for h, word in reach.hosts.items()]])


def decode_reach(data: bytes) -> Reach:
    """Raises:
    PayloadError: these bytes are no such answer.
    """
    said = decode_payload(data)
    if not (isinstance(said, list) and len(said) >= 2 and isinstance(said[1], list)):
        raise PayloadError("an answer about addresses is a list of two")
    heard, rows = said[:2]
    if not (heard is None or isinstance(heard, bool)) or len(rows) > MAX_HOSTS:
        raise PayloadError("an answer about addresses says yes, no or nothing of mDNS")
    hosts: dict[str, Reached] = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and all(isinstance(x, str) for x in row)):
            raise PayloadError("an address comes with one word")
        host, word = row
        if len(host) > MAX_HOST_CHARS or word not in list(Reached):
            raise PayloadError("an address or a word that is none")
        hosts[host] = Reached(word)
    return Reach(heard, hosts)


class ReachService:
    """Tries the addresses of whoever asks."""

    def __init__(self, peer: Peer, clock: Clock) -> None:
        self._peer = peer
        self._clock = clock
        self._asked_ms: dict[PeerId, int] = {}
        peer.serve(REACH, self._on_asked, permission=Permission.CALL, limit=MAX_AT_ONCE)

    async def _on_asked(self, incoming: Incoming, payload: bytes) -> bytes:
        caller = incoming.caller.peer_id
        session = self._peer.session_of(caller)
        if session is None:
            raise BadRequest(self._peer.name, REACH, "there is no session with the caller")
        self._take_turn(caller)
        hosts, port = session.record.hosts[:MAX_HOSTS], session.ports.get("door", 0)
        words = await asyncio.gather(*(self._try(Address(host, port), caller) for host in hosts))
        heard = self._peer.gathering.hears(caller)
        return encode_reach(Reach(heard, dict(zip(hosts, words, strict=True))))

    def _take_turn(self, caller: PeerId) -> None:
        now_ms = self._clock.now_ms()
        last_ms = self._asked_ms.get(caller)
        if last_ms is not None and now_ms - last_ms < PAUSE_MS:
            said = f"it tries the same addresses again after {PAUSE_MS // 1000} s; wait a moment"
            raise Overloaded(self._peer.name, REACH, said)
        if len(self._asked_ms) >= MAX_ASKERS:
            self._asked_ms.clear()
        self._asked_ms[caller] = now_ms

    async def _try(self, address: Address, caller: PeerId) -> Reached:
        if not usable_address(address):
            return Reached.SKIPPED
        try:
            await self._peer.gathering.reach(address, caller)
        except IntroductionFailed as error:
            return word_of(error.reason, error.detail)
        return Reached.YES


def word_of(reason: str, detail: str) -> Reached:
    """The one word for a failed introduction."""
    if reason in ("unreachable", "deadline", "disconnected"):
        return Reached.REFUSED if "refused" in detail.lower() else Reached.SILENT
    return Reached.OTHER if reason in _SOMEBODY_ELSE else Reached.SKIPPED
