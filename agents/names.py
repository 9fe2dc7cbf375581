"""Names of capabilities: dotted lower case, and before it, with a colon, the namespace if any.

    math.add            in the default namespace, where every node may offer
    vision:math.add     in `vision`, where a node may offer whose certificate says so
    :math.add           the default namespace again, for those who are within another one
    summer/math.add     of the agent `summer` and no other; `vision:summer/math.add` in a namespace
    math.add@<peer id>  as the skill of a task: by this peer and no other

What this module does not know: who may offer where, who offers what.
"""

from __future__ import annotations

import re

from agents.errors import BadAgent

_WORDS = r"[a-z0-9][a-z0-9_-]*"
_NAMESPACE = re.compile(rf"{_WORDS}(\.{_WORDS})*")
_CAPABILITY = re.compile(rf"{_WORDS}(\.{_WORDS})+")
MAX_NAMESPACE_CHARS = 63  # as in certificates
MAX_NAME_CHARS = 128  # of the full name


def full_name(namespace: str, capability: str) -> str:
    """Return what a capability of an agent in this namespace is called.

    Raises:
        BadAgent: the capability's name is not allowed.
    """
    full = f"{namespace}:{capability}" if namespace else capability
    if not _CAPABILITY.fullmatch(capability) or len(full) > MAX_NAME_CHARS:
        raise BadAgent(
            f"capability {capability!r}: use dotted lower case such as 'math.add', "
            f"at most {MAX_NAME_CHARS} characters with its namespace"
        )
    return full


def check_namespace(namespace: str) -> None:
    """Check a namespace; the empty one is the default.

    Raises:
        BadAgent: it cannot be one.
    """
    fits = _NAMESPACE.fullmatch(namespace) and len(namespace) <= MAX_NAMESPACE_CHARS
    if namespace and not fits:
        raise BadAgent(
            f"namespace {namespace!r}: use lower case words joined by dots, such as 'shop.eu', "
            f"at most {MAX_NAMESPACE_CHARS} characters"
        )


def namespace_of(full: str) -> str:
    """Return the namespace of a full name, empty for the default."""
    return full.rpartition(":")[0]


def seen_from(namespace: str, name: str) -> str:
    """Return the full name of what somebody within this namespace calls so."""
    if name.startswith(":"):
        return name[1:]
    return f"{namespace}:{name}" if namespace and ":" not in name else name


def at_agent(full: str, agent: str) -> str:
    """Return what a capability is called by those who want it of this agent alone."""
    namespace, colon, plain = full.rpartition(":")
    return f"{namespace}{colon}{agent}/{plain}"


def at_peer(skill: str, peer_id: str) -> str:
    """Return what a task's skill is called when this peer alone shall do it."""
    return f"{skill}@{peer_id}"


def peer_meant(skill: str) -> tuple[str, str | None]:
    """Return a task's skill without the peer that alone shall do it, and that peer, if any."""
    plain, _, peer_id = skill.partition("@")
    return plain, peer_id or None


def whoever_offers(name: str) -> str:
    """Return the full name of a capability without the agent that it is wanted of, if any."""
    namespace, colon, rest = name.rpartition(":")
    return f"{namespace}{colon}{rest.rpartition('/')[2]}"


def agent_meant(name: str) -> str | None:
    """Return the agent that a capability is wanted of, if it is wanted of one."""
    agent, slash, _ = name.rpartition(":")[2].rpartition("/")
    return agent if slash else None
