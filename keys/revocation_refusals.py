"""Why a revocation list is not put in force: one class per reason. And what follows from one.

Kept apart from `keys.errors` for its length only; the tree is drawn there.

What this module does not know: how the checks are made, and their order (`keys.revoking`,
`keys.revocations`).
"""

from __future__ import annotations

from keys.errors import JoinRefused, Refused


class RevocationRefused(Refused):
    """A revocation list is not one that we put in force."""

    code = "revocations"


class JoinKeyRevoked(JoinRefused):
    code = "join-key-revoked"

    def __init__(self, peer_id: str) -> None:
        super().__init__(
            f"the key of {peer_id} was revoked; join with a new ticket from a new directory, which "
            "makes a new key"
        )
        self.peer_id = peer_id


class RevocationListMalformed(RevocationRefused):
    code = "revocations-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the revocation list cannot be read: {problem}")
        self.problem = problem


class RevocationListTooLarge(RevocationRefused):
    code = "revocations-too-large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the revocation list is {size_bytes:,} bytes long and the limit is {limit_bytes:,}"
        )
        self.size_bytes = size_bytes


class RevocationListFull(RevocationRefused):
    code = "revocations-full"

    def __init__(self, has: str, limit: str) -> None:
        super().__init__(
            f"the revocation list would have {has}, and the limit is {limit}; revoke everything "
            "that was issued before a time instead, and renew what is to stay"
        )


class RevocationBadSignature(RevocationRefused):
    code = "revocations-bad-signature"

    def __init__(self, signer: str) -> None:
        super().__init__(f"the revocation list is not signed by {signer!r}, whose it claims to be")
        self.signer = signer


class RevocationNotAnIssuer(RevocationRefused):
    code = "revocations-not-an-issuer"

    def __init__(self, problem: str) -> None:
        super().__init__(f"whoever signed the revocation list signs no certificates: {problem}")
        self.problem = problem


class RevocationFuture(RevocationRefused):
    code = "revocations-future"

    def __init__(self, signer: str, early_ms: int) -> None:
        super().__init__(
            f"the revocation list of {signer!r} was made {early_ms // 1000} s from now; check the "
            "clocks of both machines"
        )
        self.early_ms = early_ms


class RevocationOlder(RevocationRefused):
    """It would undo what a later list revoked."""

    code = "revocations-older"

    def __init__(self, signer: str, sequence: int, known: int) -> None:
        super().__init__(
            f"the revocation list of {signer!r} has number {sequence}, and number {known} is known"
        )
        self.signer = signer
        self.sequence = sequence
        self.known = known


class RevocationConflict(RevocationRefused):
    """Two lists with one number: the signer's key is used in two places, or was restored."""

    code = "revocations-conflict"

    def __init__(self, signer: str, sequence: int) -> None:
        super().__init__(
            f"{signer!r} signed two different revocation lists with the number {sequence}; the "
            "first one that came here stays in force. Its key is used in two places, or its "
            "directory was restored from a backup: revoke anything there again to mend it"
        )
        self.signer = signer
        self.sequence = sequence


class RevocationSignerRevoked(RevocationRefused):
    code = "revocations-signer-revoked"

    def __init__(self, signer: str) -> None:
        super().__init__(
            f"the key of {signer!r} was revoked by the root: its list counts no more, and nothing "
            "that it signed is believed"
        )
        self.signer = signer


class RevocationListsTooMany(RevocationRefused):
    code = "revocations-too-many"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} signers have revocation lists already, and no more are kept")
