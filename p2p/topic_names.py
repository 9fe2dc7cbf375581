"""Names of topics as they stand on the wire, and which subscription hears which.

ZeroMQ matches by prefix, and `agent.1` must not hear `agent.10`: so a topic ends with a zero byte
there. The name of a subtree ends with "/" and stands as it is, so that its prefix is the subtree.
No topic begins with a zero byte; what does is a word between two transports.

A pure core. Does not know: who subscribed, sockets.
"""

from __future__ import annotations

from p2p.errors import MisuseError

TERMINATOR = b"\0"
HOLD = b"\0hold"  # subscribed to by whoever does not read just now
SEAM = b"\0seam"  # and random bytes: by whoever moves to another connection, on both of them
_SUBTREE = "/"


def wire_name(topic: str, limit_bytes: int) -> bytes:
    """A topic to publish on.

    Raises:
        MisuseError: it is empty, too long, holds a zero byte, or names a subtree.
    """
    if topic.endswith(_SUBTREE):
        raise MisuseError(
            f"{topic!r} names a subtree, which can be subscribed to; publish on a topic below it"
        )
    return subscription_name(topic, limit_bytes)


def subscription_name(topic: str, limit_bytes: int) -> bytes:
    """A topic or a subtree to subscribe to.

    Raises:
        MisuseError: it is empty, too long, no text, or holds a zero byte.
    """
    try:
        name = topic.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        name = b""
    if not name or len(name) > limit_bytes or TERMINATOR in name:
        raise MisuseError(
            f"no topic can be called {topic!r}: a name has 1 to {limit_bytes} bytes, none of them 0"
        )
    return name if topic.endswith(_SUBTREE) else name + TERMINATOR


def is_subscription(name: bytes) -> bool:
    """Whether a peer may subscribe to these bytes: a topic, a subtree, or a word of ours."""
    if name == HOLD or name.startswith(SEAM):
        return True
    is_topic = len(name) > 1 and name.find(TERMINATOR) == len(name) - 1
    return is_topic or (name.endswith(b"/") and TERMINATOR not in name)


def subtrees_above(name: bytes) -> list[bytes]:
    """The names of all subtrees that a topic lies in, the widest first."""
    found = []
    end = name.find(b"/") + 1
    while end:
        found.append(name[:end])
        end = name.find(b"/", end) + 1
    return found
