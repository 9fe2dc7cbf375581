"""Lists of what was revoked, and members whom none revokes. From `keys/FORMAT.md` alone.

What this module does not know: where lists come from, and whether there are later ones.
"""

from collections.abc import Iterable
from itertools import pairwise

from keys.second_opinion.extras import Map, authentic, by, member
from keys.second_opinion.verifier import (
    BACKDATE_MS,
    MAX,
    SKEW_MS,
    No,
    canonical,
    digest,
    fits,
    id_of,
    need,
    signed_map,
)

LIST = {1: (1, 1), 2: 32, 3: 32, 4: (1, MAX), 5: (0, MAX), 6: (0, MAX), 7: [1000, list]}
LIST_BYTES, ENTRIES = 65_536, 1000


def chain(data: bytes, network: str, now_ms: int, lists: Iterable[bytes] = ()) -> Map:
    """The certificate of a member of this network, which none of these lists revokes.

    Raises:
        No: it is none.
    """
    certs, roots = member(data, network, now_ms)
    found, top, issued = _in_force(lists, network, now_ms), digest(roots[0][6]), 0
    for place in range(len(certs) - len(roots) - 1, -1, -1):
        c, issuer = certs[place], certs[place + 1]
        issued = c[12] + (BACKDATE_MS if c[12] > issuer[12] else 0)
        _not_revoked(found, top, c[11], c[3], digest(c[6]), issued)
    for former in certs[0]["from"]:
        _not_revoked(found, top, top, b"", former, issued)
        _not_revoked(found, top, former, b"", digest(certs[0][6]), issued)
    return certs[0]


def _in_force(packed: Iterable[bytes], network: str, now_ms: int) -> dict[bytes, Map]:
    """By signer: of each the latest that holds, in the order in which they are heard."""
    found: dict[bytes, Map] = {}
    for each in packed:
        try:
            new = _list(each, network, now_ms)
            need(new[3] not in found or found[new[3]][4] < new[4], "older")
            need(not _disowned(new, found), "its signer is revoked")
        except No:
            continue
        found[new[3]] = new
        found = {k: listed for k, listed in found.items() if not _disowned(listed, found)}
    return found


def _list(packed: bytes, network: str, now_ms: int) -> Map:
    pair = canonical(packed, LIST_BYTES + 6016)
    need(type(pair) is list and [type(each) for each in pair] == [bytes, bytes], "no list")
    certs, roots = authentic(pair[1], network, ([2], []))
    listed = signed_map(pair[0], LIST, LIST_BYTES, ENTRIES)
    need(id_of(listed[2]) == network and listed[3] == digest(certs[0][6]), "whose list")
    need(listed[5] < listed[6] and listed[5] <= now_ms + SKEW_MS, "time of the list")
    for entry in listed[7]:
        need(len(entry) == 6 and fits(entry[0], (1, 3)), "entry")
        need(fits(entry[1], {1: 16, 2: 32, 3: 0}[entry[0]]), "what is revoked")
        need(all(fits(n, (0, MAX)) for n in entry[2:5]), "times of an entry")
        need(fits(entry[5], r"(?s).{0,40}") and entry[5].isprintable(), "reason")
        need(entry[0] == 2 or (entry[2] > 0) == (entry[0] == 3), "before")
    places = [entry[:2] for entry in listed[7]]
    need(all(a < b for a, b in pairwise(places)), "order of entries")
    by(certs[0], "revocations", listed["body"], listed["signature"])
    return {**listed, "root": certs[0][2] == 1, "roots": [digest(c[6]) for c in roots]}


def _disowned(listed: Map, found: dict[bytes, Map]) -> bool:
    """Whether a root has revoked the signer's key for ever."""
    above = (r for r in found.values() if r["root"] and listed["roots"][0] in r["roots"])
    forever = ([2, listed[3], 0] == entry[:3] for r in above for entry in r[7])
    return not listed["root"] and any(forever)


def _not_revoked(
    found: dict[bytes, Map], top: bytes, issuer: bytes, serial: bytes, key: bytes, issued: int
) -> None:
    for r in found.values():
        if top in r["roots"] if r["root"] else r[3] == issuer:
            for kind, what, before, *_ in r[7]:
                timely = not before or issued < before
                need((kind, what) != (1, serial), "revoked certificate")
                need(not (timely and ((kind, what) == (2, key) or kind == 3)), "revoked")
