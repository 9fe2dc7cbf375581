"""What may still be asked while a revocation list is older than its signer promised.

A list says when the next one comes. When none came, somebody may be keeping it from us, and with
it the news that an administrator's key was stolen. Calls and tasks go on; what changes the network
itself is refused until the list is fresh again, unless the settings say otherwise. A network in
which nothing was ever revoked has no list, and is fresh.

What this module does not know: who asks, timers, where the setting comes from.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from keys import Permission, Principal, Revocations

SENSITIVE = (
    Permission.CERT_ISSUE
    | Permission.TOKEN_ISSUE
    | Permission.CERT_REVOKE
    | Permission.RAFT_ADMIN
    | Permission.CONFIG_CHANGE
    | Permission.KEYS_ROTATE
    | Permission.NODE_DRAIN
)


class Strictness(StrEnum):
    """What fails closed with a stale list."""

    OFF = "off"  # nothing
    ADMIN = "admin"  # what changes the network
    ALL = "all"  # everything but being a member


class Freshness:
    """One peer's view of how fresh its lists are."""

    def __init__(self, strictness: Strictness = Strictness.ADMIN) -> None:
        self.strictness = strictness
        self._withheld = Permission(0)
        self._reduced: dict[Principal, Principal] = {}

    def look(self, revocations: Revocations, now_ms: int) -> bool:
        """Take note of how things are; True when something else may be asked than before."""
        is_stale = revocations.stale(now_ms) is not None
        withheld = _WITHHELD[self.strictness] if is_stale else Permission(0)
        if withheld == self._withheld:
            return False
        self._withheld = withheld
        self._reduced.clear()
        return True

    @property
    def withheld(self) -> Permission:
        return self._withheld

    def seen(self, principal: Principal) -> Principal:
        """This member with what it may ask just now."""
        if not self._withheld:
            return principal
        found = self._reduced.get(principal)
        if found is None:
            if len(self._reduced) >= 4096:
                self._reduced.clear()
            found = replace(principal, permissions=principal.permissions & ~self._withheld)
            self._reduced[principal] = found
        return found


_WITHHELD = {
    Strictness.OFF: Permission(0),
    Strictness.ADMIN: SENSITIVE,
    Strictness.ALL: ~Permission.MEMBERSHIP,
}
