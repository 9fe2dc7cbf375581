"""Why a certificate, a chain or a transport record is refused: one class per reason.

Kept apart from `keys.errors` for its length only; the tree is drawn there. What this module does
not know: how the checks are made, and their order (`keys.trust`, `keys.record`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from keys.errors import CertificateRefused, RecordRefused

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000


def duration(span_ms: int) -> str:
    """A span of time in one or two units: `40 s`, `3 min 20 s`, `25 d 4 h`."""
    for unit_ms, unit, smaller_ms, smaller in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", _SECOND, "s"),
    ):
        if span_ms >= unit_ms:
            rest = span_ms % unit_ms // smaller_ms
            return f"{span_ms // unit_ms} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{max(0, span_ms) // _SECOND} s"


class CertificateMalformed(CertificateRefused):
    code = "malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the certificate cannot be read: {problem}")
        self.problem = problem


class CertificateTooLarge(CertificateRefused):
    code = "too-large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the certificate is {size_bytes:,} bytes long and the limit is {limit_bytes:,}"
        )
        self.size_bytes = size_bytes


class UnknownVersion(CertificateRefused):
    code = "unknown-version"

    def __init__(self, version: int) -> None:
        super().__init__(f"the certificate has version {version}, which this program does not know")
        self.version = version


class NameRefused(CertificateRefused):
    code = "name"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"the certificate carries the name {name[:80]!r}: {problem}")
        self.name = name


class ChainLength(CertificateRefused):
    code = "chain-length"

    def __init__(self, length: int, lowest: int, highest: int) -> None:
        super().__init__(
            f"the chain has {length} certificates and must have {lowest} to {highest}, "
            "from the peer's own up to the root"
        )
        self.length = length


class UnknownCritical(CertificateRefused):
    code = "unknown-critical"

    def __init__(self, extension: str) -> None:
        super().__init__(
            f"the certificate has the critical extension {extension[:80]!r}, which this program "
            "does not know; upgrade it"
        )
        self.extension = extension


class WrongNetwork(CertificateRefused):
    code = "wrong-network"

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(f"the certificate is of network {theirs}, we are in network {ours}")
        self.theirs = theirs
        self.ours = ours


class BadRoot(CertificateRefused):
    code = "bad-root"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the chain does not end at this network's root: {problem}")
        self.problem = problem


class RotationRefused(CertificateRefused):
    code = "rotation"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the roots of the chain do not follow each other: {problem}")
        self.problem = problem


class RotationConflict(CertificateRefused):
    """Two roots claim the same place. Somebody else than its owners may hold the old root's key."""

    code = "rotation-conflict"

    def __init__(self, number: int, ours: str, theirs: str) -> None:
        super().__init__(
            f"the chain shows another root number {number} ({theirs}) than the one that this node "
            f"knows ({ours}); the first one seen counts: ask those who hold the root's keys at "
            "once, for two of them means that an old key was misused or a rotation was made twice"
        )
        self.number = number
        self.ours = ours
        self.theirs = theirs


class RootSuperseded(CertificateRefused):
    code = "root-superseded"

    def __init__(self, number: int, newest: int, late_ms: int) -> None:
        super().__init__(
            f"the chain is of root number {number}, the network's is number {newest}, and the time "
            f"for chains of older ones ended {duration(late_ms)} ago; its node needs a certificate "
            "from an issuer that the new root has signed"
        )
        self.number = number
        self.newest = newest
        self.late_ms = late_ms


class WrongIssuer(CertificateRefused):
    code = "wrong-issuer"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the certificate of {name!r} names another issuer than the next in the chain"
        )


class CertificateBadSignature(CertificateRefused):
    code = "bad-signature"

    def __init__(self, name: str) -> None:
        super().__init__(f"the certificate of {name!r} is not signed by the key of its issuer")


class IssuerMayNotIssue(CertificateRefused):
    code = "issuer-may-not-issue"

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(
            f"{name!r} holds a {kind} certificate, and signed another certificate with it"
        )


class NotAPeer(CertificateRefused):
    code = "not-a-peer"

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(
            f"the {kind} certificate of {name!r} was shown as a peer's; a key that signs "
            "certificates never takes part as a peer"
        )


class PathTooLong(CertificateRefused):
    code = "path-too-long"

    def __init__(self, name: str, path_length: int, below: int) -> None:
        super().__init__(
            f"the certificate of {name!r} allows {path_length} issuers below it and has {below}"
        )


class ValidityTooWide(CertificateRefused):
    code = "validity-too-wide"

    def __init__(self, name: str, issuer: str) -> None:
        super().__init__(f"the validity of {name!r} is not inside that of its issuer {issuer!r}")


class CertificateLivesTooLong(CertificateRefused):
    code = "lives-too-long"

    def __init__(self, name: str, lifetime_ms: int, limit_ms: int) -> None:
        super().__init__(
            f"the certificate of {name!r} lives {lifetime_ms // 86_400_000} days and its kind may "
            f"live {limit_ms // 86_400_000}"
        )


class CertificateNotYetValid(CertificateRefused):
    code = "not-yet-valid"

    def __init__(self, name: str, early_ms: int) -> None:
        super().__init__(
            f"the certificate of {name!r} begins in {duration(early_ms)}: either it was made on a "
            "machine whose clock is ahead, or the clock of this one is behind; compare both with "
            "the true time"
        )
        self.early_ms = early_ms


class CertificateExpired(CertificateRefused):
    code = "expired"

    def __init__(self, name: str, late_ms: int) -> None:
        super().__init__(
            f"the certificate of {name!r} ended {duration(late_ms)} ago: it must be renewed, "
            "unless the clock of this machine is ahead; compare it with the true time"
        )
        self.late_ms = late_ms


class CertificateRevoked(CertificateRefused):
    """Whoever signed it has taken it back."""

    code = "revoked"

    def __init__(self, name: str, by: str, revoked_ms: int, reason: str) -> None:
        day = datetime.fromtimestamp(revoked_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"the certificate of {name!r} was revoked by {by!r} on {day}{why}; this key and this "
            "certificate are no member's any more: who is to be one joins anew, with a new ticket "
            "and a new directory"
        )
        self.name = name
        self.by = by
        self.revoked_ms = revoked_ms
        self.reason = reason


class RolesTooWide(CertificateRefused):
    code = "roles-too-wide"

    def __init__(self, name: str, issuer: str) -> None:
        super().__init__(f"{name!r} has roles that its issuer {issuer!r} may not give")


class NamespacesTooWide(CertificateRefused):
    code = "namespaces-too-wide"

    def __init__(self, name: str, issuer: str) -> None:
        super().__init__(f"{name!r} has namespaces that its issuer {issuer!r} may not give")


class RecordMalformed(RecordRefused):
    code = "record-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the transport record cannot be read: {problem}")
        self.problem = problem


class RecordTooLarge(RecordRefused):
    code = "record-too-large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the transport record is {size_bytes:,} bytes long and the limit is {limit_bytes:,}"
        )


class RecordOfOtherPeer(RecordRefused):
    code = "record-other-peer"

    def __init__(self, named: str, shown: str) -> None:
        super().__init__(f"the transport record is of {named}, it was shown by {shown}")


class RecordBadSignature(RecordRefused):
    code = "record-bad-signature"

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"the transport record is not signed by {peer_id}")


class RecordOfOtherCertificate(RecordRefused):
    code = "record-other-certificate"

    def __init__(self, peer_id: str) -> None:
        super().__init__(
            f"the transport record of {peer_id} was made for another certificate of it"
        )


class RecordLivesTooLong(RecordRefused):
    code = "record-lives-too-long"

    def __init__(self, peer_id: str, lifetime_ms: int, limit_ms: int) -> None:
        super().__init__(
            f"the transport record of {peer_id} lives {lifetime_ms // 60_000} minutes and may live "
            f"{limit_ms // 60_000}"
        )


class RecordNotYetValid(RecordRefused):
    code = "record-not-yet-valid"

    def __init__(self, peer_id: str, early_ms: int) -> None:
        super().__init__(
            f"the transport record of {peer_id} begins in {duration(early_ms)}; check the clocks"
        )


class RecordExpired(RecordRefused):
    code = "record-expired"

    def __init__(self, peer_id: str, late_ms: int) -> None:
        super().__init__(
            f"the transport record of {peer_id} ended {duration(late_ms)} ago; it makes a new one "
            "well before that, so check the clocks"
        )
