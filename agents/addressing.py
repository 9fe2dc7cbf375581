"""Which peer a person or a program means, by id, the start of an id, or a name.

What this module does not know: what is asked of the peer.
"""

from __future__ import annotations

import re
from typing import Final

from agents.errors import InvalidArguments, NoOtherPeer
from keys import PeerId
from p2p import Peer, PeerUnreachable

# A shorter start may be a name: what was meant for a dead peer must not reach another one.
MIN_START_CHARS: Final = 6
_ID: Final = re.compile(r"[a-z2-7]{52}")


def peer_named(peer: Peer, wanted: str) -> PeerId:
    """Find a living peer, this node's own among them.

    Raises:
        PeerUnreachable: there is none, or more than one.
    """
    known = {peer.peer_id: peer.name}
    for peer_id in peer.presence.present():
        member = peer.member(peer_id)
        known[peer_id] = member.name if member else ""
    found = [p for p, name in known.items() if wanted in (p, name)]
    if not found and len(wanted) >= MIN_START_CHARS:
        found = [p for p in known if p.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    reason = "no living peer has that id or name" if not found else "several peers are meant"
    raise PeerUnreachable(wanted, reason)


def peer_or_id(peer: Peer, wanted: str) -> PeerId:
    """Find a living peer, or take a whole id as it is: that one may be away now.

    Raises:
        PeerUnreachable: there is none of that name, or more than one.
    """
    if _ID.fullmatch(wanted):
        return PeerId(wanted)
    return peer_named(peer, wanted)


def other_peer(peer: Peer, wanted: str | None, what: str) -> PeerId:
    """Find a living peer that is not this node: the one that is meant, or the first by name.

    Raises:
        NoOtherPeer: this node is alone.
        PeerUnreachable: there is none of that name, or more than one.
        InvalidArguments: it is this node.
    """
    if wanted is not None:
        found = peer_named(peer, wanted)
        if found == peer.peer_id:
            raise InvalidArguments(what, f"{peer.label(found)} is this node; name another one")
        return found
    present = sorted(peer.presence.present(), key=lambda peer_id: (peer.label(peer_id), peer_id))
    if not present:
        raise NoOtherPeer(what)
    return present[0]
