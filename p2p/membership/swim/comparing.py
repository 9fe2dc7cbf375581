"""Anti-entropy: two members find what one knows and the other does not, without sending it all.

    A -> B  Compare   the digests of 64 buckets of A's table
    B -> A  Have      what B holds in those that differ: eight bytes of each id and of its record
    A -> B  Want      which of these A lacks or has otherwise; with its own statements about them
    B -> A            B's statements about these

Merging is a lattice, so both may send what they have and both end with the same. It runs only when
the digests in the beats differ for a while, or when two meet: at rest it costs nothing.

What this module does not know: sending, pacing of what is sent.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

from keys import PeerId
from p2p.membership.swim.messages import MAX_ENTRIES, Compare, Have, Want
from p2p.membership.swim.statements import Statement, raw_of
from p2p.membership.swim.table import Record, Table, bucket_of
from p2p.membership.swim_settings import SwimSettings
from p2p.slowness import Slowness

MAX_MET = 64
LONG_MS = 500  # where an answer takes longer,
IN_VAIN_MS = 5_000  # after so long, what comes is no answer to the first question of several
AT_ONCE = 3  # so many comparisons with those just met, in the time of one otherwise


class Comparing:
    """See the module."""

    def __init__(self, settings: SwimSettings) -> None:
        self._pace_ms = settings.compare_ms
        self._next_ms = 0
        self._met: dict[PeerId, None] = {}
        self._greeted_ms: deque[int] = deque(maxlen=AT_ONCE)
        self._asked_ms: dict[PeerId, int] = {}  # who holds what we hold does not answer
        self._slowness = Slowness(LONG_MS)

    def meet(self, peer_id: PeerId) -> None:
        """There is a session; until it has said a word, it is asked again and again."""
        self._met[peer_id] = None
        if len(self._met) > MAX_MET:
            del self._met[next(iter(self._met))]

    def may_greet(self, now_ms: int) -> bool:
        """Whether one that we have just met is worth a comparison. Who meets many while all are
        busy would get everybody's words from each, before the papers of the first are here."""
        times = self._greeted_ms
        is_often = len(times) == AT_ONCE and now_ms - times[0] < self._pace_ms
        if is_often and self.is_slow(now_ms):
            return False
        times.append(now_ms)
        return True

    def asked(self, peer_id: PeerId, now_ms: int) -> None:
        """We have begun a comparison."""
        asked_ms = self._asked_ms.pop(peer_id, now_ms)
        self._asked_ms[peer_id] = asked_ms if now_ms - asked_ms < IN_VAIN_MS else now_ms
        if len(self._asked_ms) > MAX_MET:
            del self._asked_ms[next(iter(self._asked_ms))]

    def answered(self, peer_id: PeerId, now_ms: int) -> None:
        asked_ms = self._asked_ms.pop(peer_id, None)
        if asked_ms is not None:
            self._slowness.took(now_ms - asked_ms, now_ms)

    def is_slow(self, now_ms: int) -> bool:
        """Whether answers take long."""
        return self._slowness.is_slow(now_ms)

    def strangers(self, table: Table) -> list[PeerId]:
        """Those that we met and have not heard a word of."""
        for peer_id in [each for each in self._met if each in table]:
            del self._met[peer_id]
        return list(self._met)

    def is_due(self, now_ms: int, rng: random.Random) -> bool:
        """Whether a comparison may begin now; if so, the next may not for a while."""
        if now_ms < self._next_ms:
            return False
        self._next_ms = now_ms + self._pace_ms + rng.randint(0, self._pace_ms // 4)
        return True

    def on_compare(self, asked: Compare, table: Table) -> Have | None:
        ours = table.buckets()
        differing = [n for n, theirs in enumerate(asked.buckets) if theirs != ours[n]]
        if not differing:
            return None
        entries = sorted(table.prints(set(differing)).items())
        if len(entries) > MAX_ENTRIES:  # the rest comes when these are alike
            differing = differing[: max(1, len(differing) * MAX_ENTRIES // (2 * len(entries)))]
            entries = sorted(table.prints(set(differing)).items())[:MAX_ENTRIES]
        return Have(tuple(differing), tuple(entries))

    def on_have(self, have: Have, table: Table) -> tuple[Want | None, tuple[Statement, ...]]:
        theirs = dict(have.entries)
        buckets = set(have.buckets)
        ours = [(raw_of(p)[:8], r) for p, r in table.records().items() if bucket_of(p) in buckets]
        given = [record for prefix, record in ours if theirs.get(prefix) != record.print]
        known = {prefix: record.print for prefix, record in ours}
        wanted = tuple(prefix for prefix, print_ in have.entries if known.get(prefix) != print_)
        return (Want(wanted) if wanted else None), _said(given)

    def on_want(self, want: Want, table: Table) -> tuple[Statement, ...]:
        wanted = set(want.prefixes)
        if not wanted:
            return ()
        return _said(r for p, r in table.records().items() if raw_of(p)[:8] in wanted)


def _said(records: Iterable[Record]) -> tuple[Statement, ...]:
    return tuple(said for record in records for said in record.statements())
