"""Errors of the peer-to-peer layer.

    P2PError
    |-- MisuseError                  you called us wrongly
    |   |-- PayloadTooLarge          definite
    |   |-- BadTopic                 definite
    |   `-- NotRunning               definite
    |-- RemoteError                  the other side failed
    |   |-- NoSuchMethod             definite
    |   |-- PermissionDenied         definite
    |   |-- Overloaded               definite
    |   |-- BadRequest               definite
    |   |-- HandlerFailed            definite: the handler ran and raised
    |   |-- Cancelled                indefinite
    |   `-- StreamAborted            indefinite
    `-- WorldError                   the network or the machine failed
        |-- PeerUnreachable          definite
        |-- QueueFull                definite
        |-- PortInUse                definite
        |-- RotationFailed           definite: the keys are what they were
        |-- DeadlineExceeded         indefinite
        |-- ConnectionLost           indefinite
        |-- IntroductionFailed       definite
        |-- NotEnoughSubscribers     definite: nothing was published
        |-- SubscriberTooSlow        definite: so many were lost, and the subscription has ended
        |-- FileDamaged              definite: no file was made
        |-- FileNotStored            definite: no file was made
        |-- BadFileName              definite: no file was made
        `-- TransportFailed          indefinite

`definite` says: the request certainly had no effect, or its outcome is known to be this failure.
`not definite` says: it may have taken effect.
"""

from __future__ import annotations


class P2PError(Exception):
    """Root of this package's errors."""

    definite: bool = True


class MisuseError(P2PError):
    """The caller did something that can never work."""


class PayloadTooLarge(MisuseError):
    def __init__(self, size_bytes: int, limit_bytes: int, what: str = "message") -> None:
        super().__init__(
            f"{what} of {size_bytes:,} bytes is over the limit of {limit_bytes:,} bytes; "
            "send it in parts, or send a reference to it"
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class NotRunning(MisuseError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not running; use it inside `async with`")


class RemoteError(P2PError):
    """The other side received the request and failed it."""

    def __init__(self, peer: str, what: str, detail: str) -> None:
        super().__init__(f"{what} at {peer}: {detail}")
        self.peer = peer
        self.what = what
        self.detail = detail


class NoSuchMethod(RemoteError):
    """Nobody serves that method there."""


class PermissionDenied(RemoteError):
    """The caller's roles do not include what this method needs."""


class Overloaded(RemoteError):
    """The other side refused before it began; trying another peer or later is safe."""


class BadRequest(RemoteError):
    """The arguments do not fit what the handler declares."""


class HandlerFailed(RemoteError):
    """The handler raised. `error_type` and `remote_traceback` are the other side's words."""

    def __init__(
        self, peer: str, what: str, detail: str, error_type: str = "", remote_traceback: str = ""
    ) -> None:
        super().__init__(peer, what, f"{error_type}: {detail}" if error_type else detail)
        self.error_type = error_type
        self.remote_traceback = remote_traceback


class Cancelled(RemoteError):
    """The handler was cancelled before it finished; it may have done part of its work."""

    definite = False


class StreamAborted(RemoteError):
    """One side gave the stream up; some chunks may have been received, and in order."""

    definite = False


class WorldError(P2PError):
    """The network or the machine failed."""


class PeerUnreachable(WorldError):
    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"cannot reach {peer}: {reason}")
        self.peer = peer
        self.reason = reason


class QueueFull(WorldError):
    def __init__(self, peer: str, lane: str, queued_bytes: int) -> None:
        super().__init__(
            f"{queued_bytes:,} bytes are already waiting for {peer} on the {lane} lane; "
            "it reads too slowly: wait, or send less"
        )
        self.peer = peer
        self.queued_bytes = queued_bytes


class PortInUse(WorldError):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use by another process; choose another with --port"
        )
        self.host = host
        self.port = port


class DeadlineExceeded(WorldError):
    definite = False

    def __init__(self, peer: str, what: str, timeout_s: float) -> None:
        super().__init__(f"{what} at {peer} did not answer within {timeout_s:g} s")
        self.peer = peer
        self.what = what
        self.timeout_s = timeout_s


class ConnectionLost(WorldError):
    definite = False

    def __init__(self, peer: str, what: str, reason: str) -> None:
        super().__init__(f"{peer} was lost while {what} was under way: {reason}")
        self.peer = peer
        self.what = what
        self.reason = reason


class IntroductionFailed(WorldError):
    """The door answered no, or did not answer. `reason` is stable, for tests and the doctor."""

    def __init__(self, address: str, reason: str, detail: str) -> None:
        super().__init__(f"introduction at {address} failed: {detail}")
        self.address = address
        self.reason = reason
        self.detail = detail


class RotationFailed(WorldError):
    def __init__(self, detail: str) -> None:
        super().__init__(f"the transport keys were not changed, the old ones go on: {detail}")
        self.detail = detail


class TransportFailed(WorldError):
    definite = False

    def __init__(self, detail: str) -> None:
        super().__init__(f"the transport stopped: {detail}")
        self.detail = detail


class FileDamaged(WorldError):
    """What arrived is not what was sent, or what was sent is no file."""

    def __init__(self, peer: str, name: str, detail: str) -> None:
        super().__init__(f"{name} from {peer}: {detail}; nothing was stored")
        self.peer = peer
        self.name = name
        self.detail = detail


class FileNotStored(WorldError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} was not stored: {reason}")
        self.path = path
        self.reason = reason


class BadFileName(WorldError):
    def __init__(self, peer: str, name: str) -> None:
        shown = repr(name[:80])
        super().__init__(f"{peer} calls its file {shown}, which is no name of a file here")
        self.peer = peer
        self.name = name
