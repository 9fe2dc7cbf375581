"""Sealed publications: copies in histories and pages of repair are closed, but for their readers.

A sealed payload begins with a byte that no payload begins with. Whoever subscribes gets what is
inside, or, where it does not open, a gap: who publishes and who sealed must be the same peer, and
the topic is its purpose.

What this module does not know: how topics are numbered, kept and repaired.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from agents.sealing.service import Sealing
from keys import PeerId
from keys.sealing import SealedRefused
from p2p import Publication

log = logging.getLogger("conclave.agents.sealing")

MARK: Final = b"\xc1"  # what msgpack never uses
_MAX_GAPS: Final = 4096


class SealedTopics:
    """Seals what one node publishes."""

    def __init__(self, sealing: Sealing) -> None:
        self._sealing = sealing

    async def seal(self, topic: str, payload: bytes, readers: Iterable[PeerId]) -> bytes:
        """
        Raises:
            NoSealingKey, HybridUnavailable, InvalidValue: nothing was sealed.
        """
        sealed = await self._sealing.seal(readers, _purpose(topic), payload, with_chain=False)
        return MARK + sealed

    def reader(self) -> SealedReader:
        """For one subscription."""
        return SealedReader(self._sealing)


class SealedReader:
    """Opens what comes to one subscription, and counts what does not open as lost."""

    def __init__(self, sealing: Sealing) -> None:
        self._sealing = sealing
        self._lost: Counter[tuple[str, PeerId]] = Counter()

    def open(self, batch: Iterable[Publication]) -> list[Publication]:
        """The same messages, open; those that are refused are the gap of the next."""
        opened = []
        for one in batch:
            if one.payload[:1] == MARK:
                payload = self._payload_of(one)
                if payload is None:
                    self._lose(one)
                    continue
                one = one._replace(payload=payload)
            lost = self._lost.pop((one.topic, one.sender), 0) if self._lost else 0
            opened.append(one._replace(gap=one.gap + lost) if lost else one)
        return opened

    def _payload_of(self, one: Publication) -> bytes | None:
        # Its number says that it is new, or that it was asked for again.
        purpose, data = _purpose(one.topic), one.payload[1:]
        try:
            message = self._sealing.unseal(data, purpose, is_stored=True, sender=one.sender)
        except SealedRefused as error:
            log.info("a publication is not opened: %s", error, extra={"topic": one.topic})
            return None
        return message.payload

    def _lose(self, one: Publication) -> None:
        place = (one.topic, one.sender)
        if place in self._lost or len(self._lost) < _MAX_GAPS:
            self._lost[place] += one.gap + 1


def _purpose(topic: str) -> str:
    return f"topic/{topic}"
