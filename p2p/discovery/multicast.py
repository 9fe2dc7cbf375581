"""Whether this machine can take part in multicast at all: asked of the system, nothing is sent.

What this module does not know: whether packets arrive; a firewall or a switch may still eat them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from p2p.discovery.interfaces import Interface

GROUP = "224.0.0.251"


def multicast_problem(interfaces: Sequence[Interface]) -> str | None:
    """Return why none of these interfaces lets us join the group of mDNS, or None if one does."""
    reasons: list[str] = []
    for interface in interfaces:
        if ":" in interface.address:
            continue
        reason = _refusal(interface.address)
        if reason is None:
            return None
        reasons.append(f"{interface.name}: {reason}")
    return "; ".join(reasons) or "this machine has no usable IPv4 interface"


def _refusal(address: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        wish = socket.inet_aton(GROUP) + socket.inet_aton(address)
        try:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wish)
        except OSError as error:
            return error.strerror or str(error)
    return None
