"""What is said of clusters: what users need, who is in one, who leads it; and how the log has it.

    conclave/clusters/now/roster/NAME           [1, capability, min, max, [peer, ...], formed_ms,
                                                 changed_ms, why]
    conclave/clusters/now/leader/NAME           [1, peer, token]
    conclave/clusters/lease/NAME/PEER/MARK      [1, capability, min, max], and runs out by decision

A roster's version is the log index of its last change, so it grows for ever, also for a name that
was dissolved and is used again. Times are the deciding node's wall clock, and for people only.

Invariants: nobody is in a roster twice; no more than max are in it; 1 <= min <= max <= MAX_SIZE.
What this module does not know: who decides, what fits.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from agents.errors import BadAgent
from agents.names import MAX_NAME_CHARS, check_namespace, full_name, namespace_of
from keys import PeerId
from p2p import PayloadError, decode_payload, encode_payload

PREFIX: Final = "conclave/clusters/"
NOW: Final = PREFIX + "now/"  # what every node follows
ROSTER: Final = NOW + "roster/"
LEADER: Final = NOW + "leader/"  # also the names of the locks that members contend for
LEASE: Final = PREFIX + "lease/"
VERSION: Final = 1
MAX_SIZE: Final = 64
MAX_CLUSTERS: Final = 256
MAX_LEASES: Final = 256  # of one cluster
MAX_LEASES_OF_PEER: Final = 32  # of these, so that one node cannot keep others out
MAX_WHY_CHARS: Final = 400
MAX_BYTES: Final = 16 * 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_PEER = re.compile(r"[a-z0-9]{1,128}")
_MARK = re.compile(r"[0-9a-f]{16}")


class Need(NamedTuple):
    """What one user wants of a cluster."""

    capability: str
    min_size: int
    max_size: int

    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        try:
            plain = self.capability.rpartition(":")
            check_namespace(plain[0])
            full_name(plain[0], plain[2])
        except BadAgent as error:
            return str(error)
        if not 1 <= self.min_size <= self.max_size <= MAX_SIZE:
            return f"1 <= min_size <= max_size <= {MAX_SIZE} does not hold"
        return None


class Roster(NamedTuple):
    """Who is in a cluster.

    Attributes:
        members: those who came first before those who came later, and of these the best first.
        why: what its last change was about, in words.
    """

    capability: str
    min_size: int
    max_size: int
    members: tuple[PeerId, ...]
    formed_ms: int
    changed_ms: int
    why: str

    @property
    def is_short(self) -> bool:
        return len(self.members) < self.min_size


class Lead(NamedTuple):
    """Who leads a cluster, as the log has granted it; the peer is None where nobody does."""

    peer: PeerId | None
    token: int


class LeaseName(NamedTuple):
    """Whose lease a key is."""

    cluster: str
    peer: PeerId
    mark: str

    @property
    def key(self) -> str:
        return f"{LEASE}{self.cluster}/{self.peer}/{self.mark}"


def name_problem(name: str) -> str | None:
    """What is wrong with a cluster's name, or None: as for capabilities, but one word will do."""
    namespace = namespace_of(name)
    plain = name[len(namespace) + 1 :] if namespace else name
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(plain):
        return (
            f"use 1 to {MAX_NAME_CHARS} of a-z, 0-9, '.', '_', '-', first a letter or digit; "
            "before it, with a colon, a namespace if any"
        )
    return None


def mark_problem(mark: str) -> str | None:
    return None if _MARK.fullmatch(mark) else "a mark is 16 hexadecimal digits"


def check_roster(roster: Roster) -> None:
    """Assert what every roster keeps to."""
    assert 1 <= roster.min_size <= roster.max_size <= MAX_SIZE
    assert len(roster.members) <= roster.max_size
    assert len(set(roster.members)) == len(roster.members)


# -- bytes ------------------------------------------------------------------------------------


def encode_need(need: Need) -> bytes:
    return encode_payload([VERSION, *need])


def encode_roster(roster: Roster) -> bytes:
    return encode_payload([VERSION, *roster[:3], list(roster.members), *roster[4:]])


def encode_lead(lead: Lead) -> bytes:
    return encode_payload([VERSION, *lead])


def decode_need(data: bytes) -> Need | None:
    """Return the need, None for anything else."""
    fields = _fields(data, 3)
    if [type(each) for each in fields] != [str, int, int]:
        return None
    need = Need(*fields)
    return need if need.problem() is None else None


def decode_roster(data: bytes) -> Roster | None:
    """Return the roster, None for anything else."""
    fields = _fields(data, 7)
    if [type(each) for each in fields] != [str, int, int, list, int, int, str]:
        return None
    capability, least, most, members, formed_ms, changed_ms, why = fields
    if not all(type(peer) is str and _PEER.fullmatch(peer) for peer in members):
        return None
    if len(set(members)) != len(members) or len(members) > most:
        return None
    if Need(capability, least, most).problem() is not None:
        return None
    peers = tuple(map(PeerId, members))
    return Roster(capability, least, most, peers, formed_ms, changed_ms, why[:MAX_WHY_CHARS])


def decode_lead(data: bytes) -> Lead | None:
    """Return who leads, None for anything else."""
    fields = _fields(data, 2)
    if len(fields) != 2 or type(fields[1]) is not int or fields[1] < 0:
        return None
    peer, token = fields
    if peer is None:
        return Lead(None, token)
    if type(peer) is not str or not _PEER.fullmatch(peer):
        return None
    return Lead(PeerId(peer), token)


def lease_of(key: str) -> LeaseName | None:
    """Return whose lease a key is, None for any other key."""
    parts = key.removeprefix(LEASE).split("/")
    if not key.startswith(LEASE) or len(parts) != 3:
        return None
    cluster, peer, mark = parts
    if name_problem(cluster) or mark_problem(mark) or not _PEER.fullmatch(peer):
        return None
    return LeaseName(cluster, PeerId(peer), mark)


def _fields(data: bytes, count: int) -> list[Any]:
    """What follows the version, or nothing for what cannot be read here."""
    if len(data) > MAX_BYTES:
        return []
    try:
        value = decode_payload(data)
    except PayloadError:
        return []
    if not isinstance(value, list) or len(value) < count + 1 or value[0] != VERSION:
        return []
    return value[1 : count + 1]  # what newer nodes add behind is skipped
