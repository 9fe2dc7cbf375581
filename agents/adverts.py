"""What a node tells of one of its agents: an entry of its adverts, as bytes and as others read it.

What this module does not know: the network, who offers what, how a provider is chosen.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agents.choosing import FULL, MAX_WEIGHT
from agents.errors import BadAgent
from agents.health import MAX_REASON, Condition, Health
from agents.hosting import Kind, Offer, Terms
from agents.names import namespace_of
from keys import Permission, Principal
from p2p import PayloadError, decode_payload, encode_payload

ENTRY_VERSION = 1
WELL = Condition(Health.HEALTHY, "", 0)
MAX_AGENT_CHARS = 63
_KINDS = {kind.value: kind for kind in Kind}
_STATES = {state.value: state for state in Health}

MayOffer = Callable[[str], bool]  # in this namespace


def may_offer_in(principal: Principal | None) -> MayOffer:
    """Return where a member may offer; a stranger only in the default namespace."""
    return lambda namespace: principal is not None and principal.may_in(Permission.SERVE, namespace)


def check_namespaces(offers: Iterable[Offer], principal: Principal) -> None:
    """Check that a node's own agents are where its certificate lets them be.

    Raises:
        BadAgent: one is not; others would leave out what it offers.
    """
    may_offer = may_offer_in(principal)
    for offer in offers:
        for namespace in sorted({namespace_of(c) for c in offer.handlers} - {""}):
            if not may_offer(namespace):
                allowed = ", ".join(principal.namespaces) or "none"
                raise BadAgent(
                    f"agent {offer.name} is in the namespace {namespace!r}, and the certificate of "
                    f"{principal.name} allows: {allowed}; ask for a ticket with this namespace"
                )


class Skill(NamedTuple):
    """What is said of one capability: its usage, the first line of its documentation, its terms,
    and how it answers."""

    usage: str
    summary: str
    terms: Terms
    kind: Kind


@dataclass(frozen=True, slots=True)
class AgentCard:
    """One agent as others see it.

    Attributes:
        condition: how it is, since when by its own node's wall clock.
        note: why it offers nothing now, though it is well; for people.
        load: how much of its capacity is in use, in quarters.
    """

    name: str
    capacity: int
    skills: Mapping[str, Skill]
    condition: Condition = WELL
    note: str = ""
    load: int = 0


class Told(NamedTuple):
    """What a node tells of one of its agents beside what it can do.

    Attributes:
        is_open: whether it may be asked now.
        load: how much of its capacity is in use, in quarters.
    """

    condition: Condition = WELL
    note: str = ""
    is_open: bool = True
    load: int = 0


def entry_of(offer: Offer, told: Told) -> bytes:
    """Return what is told of an agent.

    One that runs nothing now offers nothing, so that nodes which read no conditions leave it alone
    too.
    """
    handlers = offer.handlers.items() if told.is_open else ()
    # By name: what else terms come to hold is not told, and would move the kind from its place.
    skills = [
        [c, h.usage(), h.summary, h.terms.balance, h.terms.weight, h.terms.is_idempotent, h.kind]
        for c, h in handlers
    ]
    state, reason, since_ms = told.condition
    entry = [ENTRY_VERSION, offer.capacity, skills, [state.value, reason, since_ms], told.note]
    return encode_payload([*entry, told.load] if told.load else entry)


def read_entry(name: str, entry: bytes) -> AgentCard | None:
    """Return the agent of an entry; None where it is none, and without what does not fit."""
    try:
        fields = decode_payload(entry)
    except PayloadError:
        return None
    if not (isinstance(fields, list) and len(fields) >= 3 and fields[0] == ENTRY_VERSION):
        return None
    capacity, skills = fields[1:3]
    if not (type(capacity) is int and isinstance(skills, list) and len(name) <= MAX_AGENT_CHARS):
        return None
    table = {
        sys.intern(s[0]): Skill(s[1], s[2], _terms(s[3:6]), _kind(s[6:7]))
        for s in skills
        if isinstance(s, list) and len(s) >= 3 and all(isinstance(t, str) for t in s[:3])
    }
    condition = _condition(fields[3]) if len(fields) > 3 else WELL
    note = fields[4] if len(fields) > 4 and isinstance(fields[4], str) else ""
    load = fields[5] if len(fields) > 5 and type(fields[5]) is int else 0
    load = max(0, min(load, FULL))
    return AgentCard(name, max(0, min(capacity, 1024)), table, condition, note[:MAX_REASON], load)


def _condition(fields: object) -> Condition:
    """Return how an agent is; what newer nodes say otherwise is left to "degraded": it is asked
    when nobody else is there."""
    if not (isinstance(fields, list) and len(fields) >= 3):
        return WELL
    state, reason, since_ms = fields[:3]
    known = _STATES.get(state) if isinstance(state, str) else None
    return Condition(
        known or Health.DEGRADED,
        reason[:MAX_REASON] if isinstance(reason, str) else "",
        since_ms if type(since_ms) is int else 0,
    )


def _terms(fields: list[object]) -> Terms:
    if len(fields) < 3:
        return _known_terms("", 1, False)
    balance, weight, is_idempotent = fields
    return _known_terms(
        balance if isinstance(balance, str) else "",
        max(1, min(weight, MAX_WEIGHT)) if type(weight) is int else 1,
        is_idempotent is True,
    )


@functools.lru_cache(256)
def _known_terms(balance: str, weight: int, is_idempotent: bool) -> Terms:
    """Most agents say the same: one copy for all of them."""
    return Terms(balance, weight, is_idempotent)


def _kind(fields: list[object]) -> Kind:
    """Return how it answers; what a peer does not say, or newer ones say, is left to a call."""
    said = fields[0] if fields else None
    return _KINDS.get(said, Kind.CALL) if isinstance(said, str) else Kind.CALL
