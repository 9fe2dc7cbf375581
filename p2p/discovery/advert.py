"""What we say on mDNS, and what we make of what others say.

Pure. Does not know zeroconf, the network, or time. An advert is readable by everybody on the
LAN, so it holds no names, roles or versions: a peer id, a tag of the network id, addresses.
It is a hint: whoever it names still has to pass the door's handshake.

    instance  <peer id, 52 characters>._conclave._tcp.local.
    SRV       <peer id>.local. : port of the door
    A / AAAA  of <peer id>.local.
    TXT       v=1  n=<first 8 hexadecimal digits of BLAKE2b-256 of the network id>
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum

from keys import NetworkId, PeerId
from p2p.discovery.addresses import as_ip, is_dialable, is_port, looks_like_peer_id
from p2p.discovery.events import Found, Source

SERVICE_TYPE = "_conclave._tcp.local."
VERSION = b"1"
MAX_HOSTS = 8


class Ignored(StrEnum):
    """Why an advert is not taken up; counted, and told by the doctor."""

    OURSELVES = "ourselves"
    OTHER_NETWORK = "other network"
    OTHER_VERSION = "other version"
    MALFORMED = "malformed"
    INCOMPLETE = "incomplete"  # named, but it did not say where in time
    TOO_MANY = "too many"


def network_tag(network_id: NetworkId) -> str:
    """Tells networks on one LAN apart. A filter, no secret: it can be forged and may collide."""
    return hashlib.blake2b(network_id.encode("ascii"), digest_size=32).hexdigest()[:8]


def instance_name(peer_id: PeerId) -> str:
    return f"{peer_id}.{SERVICE_TYPE}"


def server_name(peer_id: PeerId) -> str:
    return f"{peer_id}.local."


def text_record(tag: str) -> dict[bytes, bytes]:
    return {b"v": VERSION, b"n": tag.encode("ascii")}


def peer_id_in(instance: str) -> PeerId | None:
    """The peer id that an instance name claims, or None if it claims none."""
    label = instance[: -len(SERVICE_TYPE) - 1].lower()
    is_ours = instance.lower().endswith("." + SERVICE_TYPE) and looks_like_peer_id(label)
    return PeerId(label) if is_ours else None


def read_advert(
    instance: str,
    port: int | None,
    text: Mapping[bytes, bytes | None],
    hosts: Sequence[str],
    *,
    own: PeerId,
    tag: str,
) -> Found | Ignored:
    """Turn one advert into a hint, or say why it is none. Unknown TXT keys are ignored."""
    peer_id = peer_id_in(instance)
    if peer_id is None:
        return Ignored.MALFORMED
    if peer_id == own:
        return Ignored.OURSELVES
    if text.get(b"v") != VERSION:
        return Ignored.OTHER_VERSION
    if text.get(b"n") != tag.encode("ascii"):
        return Ignored.OTHER_NETWORK
    usable = tuple(host for host in dict.fromkeys(hosts) if as_ip(host) and is_dialable(host))
    if not usable or port is None or not is_port(port):
        return Ignored.MALFORMED
    return Found(Source.MDNS, peer_id, usable[:MAX_HOSTS], port)
