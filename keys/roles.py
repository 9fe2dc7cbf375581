"""Roles and what each may do: one table, deny by default.

A certificate carries role bits; a principal gets the union of their permissions when it is
admitted, so that a check is one `&` per message. What a permission guards is checked where the
request is served, never by the sender. A node reads its own logs and metrics without asking, so
a service needs no permission for those.

What this module does not know: who has which role, namespaces, certificates, policies.
"""

from __future__ import annotations

from enum import IntFlag, auto
from functools import lru_cache, reduce
from operator import or_
from typing import Final

from keys.errors import InvalidValue


class Role(IntFlag):
    """Bits of a certificate. The numbers are part of its byte format."""

    SERVICE = 1  # runs agents
    OBSERVER = 2  # looks on
    MANAGER = 4  # looks after agents of its namespaces
    ADMIN = 8  # looks after the network


class Permission(IntFlag):
    """What can be asked of another peer. Local to a process: the numbers never travel."""

    MEMBERSHIP = auto()  # be met, heartbeat, leave
    CALL = auto()
    SERVE = auto()
    PUBLISH = auto()
    SUBSCRIBE = auto()
    SUBSCRIBE_METADATA = auto()  # topics about the network itself, not its contents
    ROUTE = auto()  # hand on what another peer signed
    AGENT_REGISTER = auto()  # own agents
    AGENT_DEREGISTER = auto()  # other peers' agents
    TASK_SUBMIT = auto()
    TASK_WORK = auto()
    TASK_READ = auto()
    TASK_CONTROL = auto()  # cancel or retry what others submitted
    STORE_READ = auto()  # keys of the replicated store, and its locks
    STORE_WRITE = auto()
    DECIDE = auto()  # put questions to a vote
    CONSENSUS = auto()  # be a voter or learner
    STATUS_READ = auto()
    CONFIG_READ = auto()
    CONFIG_CHANGE = auto()
    LOG_READ = auto()
    METRICS_READ = auto()
    AUDIT_READ = auto()
    CERT_ISSUE = auto()
    CERT_REVOKE = auto()
    TOKEN_ISSUE = auto()  # to callers outside the network
    KEYS_ROTATE = auto()
    NODE_DRAIN = auto()
    RAFT_ADMIN = auto()


ALL_ROLES: Final = Role.SERVICE | Role.OBSERVER | Role.MANAGER | Role.ADMIN

EVERY_MEMBER: Final = Permission.MEMBERSHIP | Permission.STATUS_READ

PERMISSIONS: Final[dict[Role, Permission]] = {
    Role.SERVICE: (
        Permission.CALL
        | Permission.SERVE
        | Permission.PUBLISH
        | Permission.SUBSCRIBE
        | Permission.SUBSCRIBE_METADATA
        | Permission.AGENT_REGISTER
        | Permission.TASK_SUBMIT
        | Permission.TASK_WORK
        | Permission.TASK_READ
        | Permission.STORE_READ
        | Permission.STORE_WRITE
        | Permission.DECIDE
        | Permission.CONSENSUS
    ),
    Role.OBSERVER: (
        Permission.SUBSCRIBE_METADATA
        | Permission.TASK_READ
        | Permission.CONFIG_READ
        | Permission.LOG_READ
        | Permission.METRICS_READ
    ),
    Role.MANAGER: (
        Permission.CALL
        | Permission.PUBLISH
        | Permission.SUBSCRIBE
        | Permission.SUBSCRIBE_METADATA
        | Permission.ROUTE
        | Permission.AGENT_REGISTER
        | Permission.AGENT_DEREGISTER
        | Permission.TASK_SUBMIT
        | Permission.TASK_READ
        | Permission.TASK_CONTROL
        | Permission.STORE_READ
        | Permission.STORE_WRITE
        | Permission.DECIDE
        | Permission.CONFIG_READ
        | Permission.CONFIG_CHANGE
        | Permission.LOG_READ
        | Permission.METRICS_READ
        | Permission.CERT_ISSUE
        | Permission.CERT_REVOKE
        | Permission.TOKEN_ISSUE
        | Permission.NODE_DRAIN
    ),
    # An administrator looks after the network and, by this role alone, runs no agents in it.
    Role.ADMIN: (
        Permission.CALL
        | Permission.PUBLISH
        | Permission.SUBSCRIBE
        | Permission.SUBSCRIBE_METADATA
        | Permission.ROUTE
        | Permission.AGENT_REGISTER
        | Permission.AGENT_DEREGISTER
        | Permission.TASK_SUBMIT
        | Permission.TASK_READ
        | Permission.TASK_CONTROL
        | Permission.STORE_READ
        | Permission.STORE_WRITE
        | Permission.DECIDE
        | Permission.CONFIG_READ
        | Permission.CONFIG_CHANGE
        | Permission.LOG_READ
        | Permission.METRICS_READ
        | Permission.AUDIT_READ
        | Permission.CERT_ISSUE
        | Permission.CERT_REVOKE
        | Permission.TOKEN_ISSUE
        | Permission.KEYS_ROTATE
        | Permission.NODE_DRAIN
        | Permission.RAFT_ADMIN
    ),
}


@lru_cache(maxsize=64)
def permissions_of(roles: Role) -> Permission:
    """The union over the roles. A member without any role may still be met."""
    return reduce(or_, (PERMISSIONS[role] for role in PERMISSIONS if role in roles), EVERY_MEMBER)


def roles_with(permission: Permission) -> tuple[str, ...]:
    """The names of the roles that include all of this by themselves."""
    return tuple(
        str(role.name).lower()
        for role, given in PERMISSIONS.items()
        if permission in given | EVERY_MEMBER
    )


def lacking(who: str, missing: Permission, given: Role | None = None) -> str:
    """Say what somebody of these roles may not do, who may, and how to become one of them."""
    words = " and ".join(str(each.name) for each in missing)
    if given is not None and missing in permissions_of(given):
        return (
            f"{words} is withheld from {who}, because a revocation list is stale and nobody can "
            "know who was revoked since: bring up the node of its issuer, or set "
            "revocation_freshness (`conclave doctor` says more)"
        )
    roles = roles_with(missing)
    if not roles:
        return f"{who} lacks the permission {words}, which no single role gives"
    named = " or ".join(roles)
    return (
        f"{who} lacks the permission {words}, which the role {named} gives: "
        "do it on a node that has it, or have a node join with a ticket of that role"
    )


def role_words(roles: Role) -> str:
    """Roles for people to read: `admin, service`."""
    names = sorted(role.name.lower() for role in Role if role in roles and role.name)
    return ", ".join(names) or "no role"


def role_named(word: str) -> Role:
    """
    Raises:
        InvalidValue: there is no role of this name.
    """
    try:
        return Role[word.strip().upper()]
    except KeyError:
        known = role_words(ALL_ROLES)
        raise InvalidValue(f"the role {word[:40]!r}", f"there are {known}") from None


def roles_named(words: str) -> Role:
    """Several, with commas between.

    Raises:
        InvalidValue: there is no role of one of these names.
    """
    return reduce(or_, (role_named(word) for word in words.split(",")))
