"""Signed revocation lists of the small network."""

from __future__ import annotations

from dataclasses import replace

from keys_lab import NOW_MS, Lab

from keys import (
    Chain,
    Entry,
    ListInForce,
    Revocations,
    Trust,
    next_list,
)
from keys.revocations import NOTHING_REVOKED


def issuers_list(
    made: Lab, *entries: Entry, known: Revocations = NOTHING_REVOKED, now_ms: int = NOW_MS
) -> ListInForce:
    chain = Chain((made.middle, made.top))
    return next_list(made.issuer, chain, known, entries, now_ms)


def roots_list(
    made: Lab, *entries: Entry, known: Revocations = NOTHING_REVOKED, now_ms: int = NOW_MS
) -> ListInForce:
    return next_list(made.root, Chain((made.top,)), known, entries, now_ms)


def trusting(made: Lab, *lists: ListInForce) -> Trust:
    revocations = Revocations()
    for each in lists:
        revocations = revocations.taking(each)
    return replace(made.trust, revocations=revocations)
