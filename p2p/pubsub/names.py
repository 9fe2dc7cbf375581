"""What a topic may be called.

A name has levels, `metrics/cpu/host1`. One with "/" at its end is a subtree, everything below it:
it can be subscribed to, not published on.

A pure core. Does not know: who subscribed, how a name stands on the wire.
"""

from __future__ import annotations

import re

from p2p.pubsub.errors import BadTopic

MAX_TOPIC_BYTES = 255
SEPARATOR = "/"
# Names are shown on terminals and in logs, a line each.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_topic(name: str) -> None:
    """
    Raises:
        BadTopic: nothing can be published under this name.
    """
    reason = _why_not(name)
    if reason is None and name.endswith(SEPARATOR):
        reason = "it names a subtree, which can be subscribed to; publish on a topic below it"
    if reason is not None:
        raise BadTopic(name, reason)


def check_subscription(name: str) -> None:
    """
    Raises:
        BadTopic: there is neither a topic nor a subtree of this name.
    """
    reason = _why_not(name)
    if reason is not None:
        raise BadTopic(name, reason)


def is_topic(name: str) -> bool:
    """Whether a peer can have published under this name."""
    return _why_not(name) is None and not name.endswith(SEPARATOR)


def is_subscription(name: str) -> bool:
    """Whether a peer can have subscribed to this name."""
    return _why_not(name) is None


def is_below(topic: str, name: str) -> bool:
    """Whether a subscription to `name` hears this topic."""
    return topic.startswith(name) if name.endswith(SEPARATOR) else topic == name


def _why_not(name: str) -> str | None:
    if type(name) is not str:
        return f"a name is text and not {type(name).__name__}"
    if not name:
        return "a name is not empty"
    if _UNFIT.search(name):
        return "a name has no control characters, line ends or halves of characters"
    if len(name.encode()) > MAX_TOPIC_BYTES:
        return f"a name has at most {MAX_TOPIC_BYTES} bytes, and this one {len(name.encode())}"
    if name.startswith(SEPARATOR) or SEPARATOR * 2 in name:
        return 'a level of it is empty; levels have a single "/" between them, and none before'
    return None
