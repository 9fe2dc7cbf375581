"""Errors of discovery.

P2PError
|-- MisuseError
|   |-- BadSeed           definite: the text is not an address anybody could dial
|   `-- UnknownInterface  definite: this machine has no interface of that name or address
`-- WorldError
    |-- NoMulticast       definite: this machine takes no part in mDNS; kept, not raised
    `-- NoServiceNames    definite: a seed is a service, and the library for those is absent
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.errors import MisuseError, WorldError


class BadSeed(MisuseError):
    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f"seed {text[:200]!r} is not an address: {why}; "
            "write HOST, HOST:PORT, or [IPV6]:PORT, for example 192.168.1.20:4747"
        )
        self.text = text
        self.why = why


class UnknownInterface(MisuseError):
    def __init__(self, wanted: str, present: Sequence[str]) -> None:
        super().__init__(
            f"this machine has no network interface called {wanted!r}; "
            f"it has {', '.join(present) or 'none'}"
        )
        self.wanted = wanted
        self.present = tuple(present)


class NoMulticast(WorldError):
    """A state rather than an exception: a node without mDNS lives on by seeds and gossip."""

    def __init__(self, addresses: Sequence[str], reason: str) -> None:
        where = ", ".join(addresses) or "no interface"
        super().__init__(
            f"mDNS does not work on {where}: {reason}; "
            "peers are still found by --seed and through peers already met"
        )
        self.addresses = tuple(addresses)
        self.reason = reason


class NoServiceNames(WorldError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"seed {name!r} is the name of a service (SRV), and the library for those is not "
            "installed: pip install 'conclave-mesh[dns]', or name a machine"
        )
        self.name = name
