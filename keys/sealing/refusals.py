"""Why a sealed message, a sealing key or a sealed stream is refused: one class per reason.

What this module does not know: how the checks are made, and their order (`keys.sealing.message`,
`keys.sealing.replay`, `keys.sealing.statement`).
"""

from __future__ import annotations

from keys.errors import MisuseError, Refused


class HybridUnavailable(MisuseError):
    """Post-quantum sealing was asked for and this installation cannot do it."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"sealing with X25519 and ML-KEM-768 is not available here: {problem}; install "
            '`conclave-mesh[pq]`, or set sealing = "x25519"'
        )
        self.problem = problem


class SealingKeyRefused(Refused):
    """What a peer says of its sealing key proves nothing."""

    code = "sealing-key"

    def __init__(self, peer_id: str, problem: str) -> None:
        super().__init__(f"the sealing key of {peer_id} is refused: {problem}")
        self.peer_id = peer_id
        self.problem = problem


class SealedRefused(Refused):
    """A sealed message is not handed out."""

    code = "sealed"


class SealedMalformed(SealedRefused):
    code = "sealed-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"this is no sealed message that can be read: {problem}")
        self.problem = problem


class SealedForOthers(SealedRefused):
    code = "sealed-recipient"

    def __init__(self, count: int) -> None:
        super().__init__(f"the message is sealed for {count} other peer(s), and not for this node")
        self.count = count


class SealedForOtherPurpose(SealedRefused):
    code = "sealed-purpose"

    def __init__(self, sealed_for: str, wanted: str) -> None:
        super().__init__(
            f"the message is sealed for the purpose {sealed_for!r} and was shown as {wanted!r}"
        )
        self.sealed_for = sealed_for
        self.wanted = wanted


class SealedUnknownSuite(SealedRefused):
    code = "sealed-suite"

    def __init__(self, suite: int) -> None:
        super().__init__(
            f"the message is sealed in a way (suite {suite}) that is not the one of the key that "
            "it names, or that this program does not know; upgrade it"
        )
        self.suite = suite


class SealingKeyGone(SealedRefused):
    code = "sealed-key-gone"

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the message is sealed for the key {number} of this node, which it does not have: "
            "keys are thrown away when no message can be young enough for them, and a new home "
            "has none of an old one's; have it sealed again"
        )
        self.number = number


class SealedDamaged(SealedRefused):
    code = "sealed-damaged"

    def __init__(self) -> None:
        super().__init__(
            "the message does not open: it was changed or cut off on its way, or whoever sealed it "
            "did not mean this node"
        )


class SealedByStranger(SealedRefused):
    code = "sealed-stranger"

    def __init__(self, sender: str) -> None:
        super().__init__(
            f"the message says that {sender} sealed it, and that is no member of this network "
            "that this node knows"
        )
        self.sender = sender


class SealedBadSignature(SealedRefused):
    code = "sealed-signature"

    def __init__(self, sender: str) -> None:
        super().__init__(f"{sender} did not sign this message for these readers and this purpose")
        self.sender = sender


class SealedInFuture(SealedRefused):
    code = "sealed-future"

    def __init__(self, sender: str, early_ms: int) -> None:
        super().__init__(
            f"the message of {sender} was sealed {early_ms // 1000} s in the future; check the "
            "clocks of both machines"
        )
        self.early_ms = early_ms


class SealedTooOld(SealedRefused):
    code = "sealed-too-old"

    def __init__(self, sender: str, age_ms: int, limit_ms: int) -> None:
        super().__init__(
            f"the message of {sender} was sealed {age_ms // 1000} s ago, and here it may be "
            f"{limit_ms // 1000} s old; check the clocks of both machines, or have it sealed again"
        )
        self.age_ms = age_ms


class SealedReplayed(SealedRefused):
    code = "sealed-replayed"

    def __init__(self, sender: str, why: str) -> None:
        super().__init__(f"the message of {sender} is not taken a second time: {why}")
        self.sender = sender
        self.why = why


class SealedByAnother(SealedRefused):
    code = "sealed-other-sender"

    def __init__(self, sender: str, expected: str) -> None:
        super().__init__(f"the message was sealed by {sender}, and it came as one of {expected}")
        self.sender = sender
        self.expected = expected


class SealedStreamBroken(SealedRefused):
    """A chunk of a sealed stream was changed, left out or moved, or its end is missing."""

    code = "sealed-stream"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the sealed stream is broken: {problem}; open it again")
        self.problem = problem
