"""Sealing: messages that only their readers open, wherever they lie or pass on the way."""

from keys.sealing.message import (
    EPOCH_BYTES,
    MAX_READERS,
    MAX_SEALED_BYTES,
    SealedMessage,
    Stamp,
    open_message,
    seal_message,
)
from keys.sealing.refusals import (
    HybridUnavailable,
    SealedBadSignature,
    SealedByAnother,
    SealedByStranger,
    SealedDamaged,
    SealedForOtherPurpose,
    SealedForOthers,
    SealedInFuture,
    SealedMalformed,
    SealedRefused,
    SealedReplayed,
    SealedStreamBroken,
    SealedTooOld,
    SealedUnknownSuite,
    SealingKeyGone,
    SealingKeyRefused,
)
from keys.sealing.replay import ReplayGuard
from keys.sealing.ring import SealingRing
from keys.sealing.seen import SeenMessages
from keys.sealing.statement import SealingStatement
from keys.sealing.stream import ChunkOpener, ChunkSealer, direction_key, new_session_key
from keys.sealing.suites import NAMES, SealingSecret, Suite, check_hybrid, hybrid_problem

__all__ = [
    "EPOCH_BYTES",
    "MAX_READERS",
    "MAX_SEALED_BYTES",
    "NAMES",
    "ChunkOpener",
    "ChunkSealer",
    "HybridUnavailable",
    "ReplayGuard",
    "SealedBadSignature",
    "SealedByAnother",
    "SealedByStranger",
    "SealedDamaged",
    "SealedForOtherPurpose",
    "SealedForOthers",
    "SealedInFuture",
    "SealedMalformed",
    "SealedMessage",
    "SealedRefused",
    "SealedReplayed",
    "SealedStreamBroken",
    "SealedTooOld",
    "SealedUnknownSuite",
    "SealingKeyGone",
    "SealingKeyRefused",
    "SealingRing",
    "SealingSecret",
    "SealingStatement",
    "SeenMessages",
    "Stamp",
    "Suite",
    "check_hybrid",
    "direction_key",
    "hybrid_problem",
    "new_session_key",
    "open_message",
    "seal_message",
]
