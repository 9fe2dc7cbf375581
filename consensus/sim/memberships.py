"""Whether one membership may follow another, judged by counting and not by the core's rules.

What this module does not know: who proposes a change, how members are known.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

from consensus.raft import Membership


def follows(before: Membership, after: Membership) -> bool:
    """Learners alone change at once; voters change through a joint membership, and back."""
    if before.is_joint:
        return after == before.left()
    if after.is_joint:
        return after.outgoing == before.voters
    return after.voters == before.voters


@lru_cache(maxsize=4096)
def overlap(before: Membership, after: Membership) -> bool:
    """Whether every quorum of the one has a member in common with every quorum of the other."""
    names = sorted({*before.deciders, *after.deciders})
    everyone = frozenset(names)
    return not any(
        before.has_quorum(some) and after.has_quorum(everyone - set(some))
        for size in range(len(names) + 1)
        for some in combinations(names, size)
    )
