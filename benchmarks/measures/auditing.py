"""What an audit log costs: those who take a note, and the thread that writes them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agents.auditing import Audit
from agents.auditing_kinds import Kind
from benchmarks.figures import Figure, measures, median_of
from keys import Identity
from keys.auditing import AuditLog, AuditNote
from p2p import SystemClock

RUNS = 7
NOTES = 500
BATCHES, BATCH = 50, 100


@measures("audit")
def audit() -> Iterator[Figure]:
    """A note in its caller's path, and entries that reach the disk."""
    signer = Identity.generate()
    runs = [asyncio.run(_note_us(signer)) for _ in range(RUNS)]
    how = "Audit.note with a subject, a reason and two details; what is written later is not in it"
    yield median_of("audit note", runs, "us", how, target=5.0)
    runs = [_entries_per_s(signer) for _ in range(RUNS)]
    how = "batches of 100: chained, fsynced, then a signed checkpoint, fsynced"
    yield median_of("audit entries", runs, "/s", how, more_is_better=True)


async def _note_us(signer: Identity) -> float:
    with tempfile.TemporaryDirectory() as home:
        taking = Audit(Path(home), signer, SystemClock())
        taking.start()
        began = time.perf_counter()
        for _ in range(NOTES):
            detail = {"name": "beta", "port": 4747}
            taking.note(Kind.COMMAND_RUN, "raft.transfer", by="local", why="asked", detail=detail)
        took_s = time.perf_counter() - began
        await taking.close()
    return took_s / NOTES * 1e6


def _entries_per_s(signer: Identity) -> float:
    note = AuditNote("peer.refused", 1, 1, "192.0.2.1", "", "refused", {"why": "certificate"})
    with tempfile.TemporaryDirectory() as home:
        log = AuditLog(Path(home), signer)
        began = time.perf_counter()
        for _ in range(BATCHES):
            log.append([note] * BATCH, wall_ms=1, monotonic_ms=1)
        return BATCHES * BATCH / (time.perf_counter() - began)
