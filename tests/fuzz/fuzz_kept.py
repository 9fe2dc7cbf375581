"""Harnesses for what is sealed, and for the logs of audits."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from fuzz_keys import NOW_MS, P
from fuzz_lab import Harness

from keys import KeysError, verify
from keys.auditing.entry import (
    START,
    AuditNote,
    decode_audit_entry,
    decode_checkpoint,
    frame,
    frames,
    last_signed_after,
    link,
    sign_head,
)
from keys.auditing.lines import audit_bytes_of, audit_line, read_audit_header
from keys.auditing.log import read_audit, read_audit_file
from keys.auditing.verdict import verify_log
from keys.canonical import NotCanonical
from keys.sealing import (
    ChunkOpener,
    ChunkSealer,
    ReplayGuard,
    SealingRing,
    SealingSecret,
    SealingStatement,
    Stamp,
    Suite,
    open_message,
    seal_message,
)

_KEPT = tempfile.TemporaryDirectory(prefix="fuzz-kept-")
_HOME = Path(_KEPT.name)

# -- audit logs ---------------------------------------------------------------------------------

_NOTE = AuditNote(
    "peer.refused", NOW_MS, 5, by="192.0.2.1", outcome="refused", detail={"why": "x", "n": 3}
)
_ENTRIES = [link(START, _NOTE)]
_ENTRIES.append(link(_ENTRIES[0].head, _NOTE))
_CHECKPOINT = sign_head(P.peer, _ENTRIES[1].head, NOW_MS)
_LOG = b"".join(frame(each.raw) for each in (*_ENTRIES, _CHECKPOINT))
_AUDIT = _HOME / "audit"
_AUDIT.mkdir(mode=0o700)
_LINES = [audit_line(each) for each in (*_ENTRIES, _CHECKPOINT)]
_HEADER = json.dumps(
    {
        "format": "conclave-audit 1",
        "name": "alpha",
        "peer": P.peer.peer_id,
        "public_key": P.peer.public_key.hex(),
    }
)


def _audit_file(data: bytes) -> None:
    path = _AUDIT / f"{1:016d}.audit"
    path.write_bytes(data)
    path.chmod(0o600)
    list(read_audit(_AUDIT))
    verify_log([(1, read_audit_file(_AUDIT, 1))], P.peer.public_key, ())


def _audit_frames(data: bytes) -> None:
    list(frames(data))
    last_signed_after(data, 0, P.peer.public_key)


def _audit_lines(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").split("\n")
    first, made = audit_bytes_of(lines)
    verify_log([(first, made)], P.peer.public_key, ())


# -- sealing ------------------------------------------------------------------------------------

_SECRET = SealingSecret(Suite.X25519, bytes([9]) * 32)
_STATEMENT = SealingStatement.make(P.peer, Suite.X25519, _SECRET.public, 7, NOW_MS)
_SEALED = seal_message(
    P.peer, [_STATEMENT], "test", b"hello", Stamp(b"epoch-01", 1, NOW_MS), P.chain.encode()
)
_PRINCIPAL = verify(P.chain, P.trust, NOW_MS)


def _open(data: bytes) -> None:
    open_message(
        data,
        P.peer.peer_id,
        "test",
        lambda number: _SECRET if number == 7 else None,
        lambda peer_id, _: _PRINCIPAL if peer_id == P.peer.peer_id else None,
    )


_GUARD = ReplayGuard(0)
_GUARD.take(P.peer.peer_id, Stamp(b"epoch-01", 1, NOW_MS), NOW_MS)
_RING = SealingRing.open(_HOME, P.peer, Suite.X25519, NOW_MS)
_RING_FILE = _HOME / "sealing.ring"
_RING_SEED = _RING_FILE.read_bytes()


def _ring(data: bytes) -> None:
    _RING_FILE.write_bytes(data)
    SealingRing.open(_HOME, P.peer, Suite.X25519, NOW_MS)


_CHUNK = ChunkSealer(bytes(32), NOW_MS).seal(b"chunk", NOW_MS, is_last=True)

HARNESSES = [
    Harness(
        "audit-entry",
        decode_audit_entry,
        [each.raw for each in _ENTRIES],
        (NotCanonical,),
        ("keys.auditing.entry:decode_audit_entry",),
    ),
    Harness(
        "audit-checkpoint",
        decode_checkpoint,
        [_CHECKPOINT.raw],
        (NotCanonical,),
        ("keys.auditing.entry:decode_checkpoint",),
    ),
    Harness("audit-frames", _audit_frames, [_LOG]),
    Harness(
        "audit-file",
        _audit_file,
        [_LOG],
        (KeysError,),
        ("keys.auditing.log:read_audit", "keys.auditing.log:read_audit_file"),
    ),
    Harness("audit-lines", _audit_lines, ["\n".join(_LINES).encode()], (KeysError,), is_text=True),
    Harness(
        "audit-header",
        lambda data: read_audit_header(data.decode("utf-8", "replace")),
        [_HEADER.encode()],
        (KeysError,),
        ("keys.auditing.lines:read_audit_header",),
        is_text=True,
    ),
    Harness("sealed-message", _open, [_SEALED], (KeysError,)),
    Harness(
        "sealing-statement",
        SealingStatement.decode,
        [_STATEMENT.raw],
        (KeysError,),
        ("keys.sealing.statement:SealingStatement.decode",),
    ),
    Harness(
        "replay-guard",
        ReplayGuard.decode,
        [_GUARD.encode(), _GUARD.encode(is_last=True)],
        (NotCanonical,),
        ("keys.sealing.replay:ReplayGuard.decode",),
    ),
    Harness("sealing-ring", _ring, [_RING_SEED], (KeysError,)),
    Harness("sealed-chunk", lambda data: ChunkOpener(bytes(32)).open(data), [_CHUNK], (KeysError,)),
]
