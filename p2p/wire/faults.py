"""Errors that cross the network: a code, the words, and the other side's traceback.

The receiving side rebuilds the same class with the peer's name in it, so a caller catches one
type whether the failure was here or there. Unknown codes of newer peers become `RemoteError`.

What this module does not know: who may see a traceback (the sender decides what it sends).
"""

from __future__ import annotations

from p2p.errors import (
    BadRequest,
    Cancelled,
    DeadlineExceeded,
    HandlerFailed,
    NoSuchMethod,
    Overloaded,
    PermissionDenied,
    RemoteError,
    StreamAborted,
)
from p2p.wire.payload import PayloadError, decode_payload, encode_payload

MAX_TEXT_CHARS = 4096
CODES: dict[str, type[RemoteError]] = {
    "no_such_method": NoSuchMethod,
    "permission_denied": PermissionDenied,
    "overloaded": Overloaded,
    "bad_request": BadRequest,
    "handler_failed": HandlerFailed,
    "cancelled": Cancelled,
    "aborted": StreamAborted,
}
_NAMES = {error: code for code, error in CODES.items()}


def encode_fault(error: Exception, traceback: str = "") -> bytes:
    """Return what tells the caller of this failure."""
    code, detail, error_type = "handler_failed", _words_of(error), type(error).__name__
    if isinstance(error, RemoteError) and type(error) in _NAMES:
        code, detail = _NAMES[type(error)], error.detail
    if isinstance(error, DeadlineExceeded):
        code = "cancelled"
    return encode_payload(
        [code, _printable(detail), _printable(error_type)[:200], _printable(traceback)]
    )


def decode_fault(data: bytes, peer: str, what: str) -> RemoteError:
    """Return the error that the other side meant; garbage becomes a plain `RemoteError`."""
    try:
        fields = decode_payload(data)
    except PayloadError:
        return RemoteError(peer, what, "failed, and said so in a way that cannot be read")
    if not (
        isinstance(fields, list) and len(fields) >= 4 and all(isinstance(f, str) for f in fields)
    ):
        return RemoteError(peer, what, "failed, and said so in a way that cannot be read")
    code, detail, error_type, traceback = (_printable(f) for f in fields[:4])
    if code == "handler_failed":
        return HandlerFailed(peer, what, detail, error_type, traceback)
    error = CODES.get(code, RemoteError)(peer, what, detail)
    if code not in CODES:
        error.definite = False  # a newer peer's word: whether it was done, we cannot know
    return error


def _words_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the class is a handler's, and so is what its text raises
        return "its text cannot be shown"


def _printable(text: str) -> str:
    """Escape what could steer a terminal, and keep the tail: it names the cause."""
    kept = text if len(text) <= MAX_TEXT_CHARS else "... " + text[-MAX_TEXT_CHARS:]
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in kept
    )
