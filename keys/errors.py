"""Errors of keys, certificates, joining and the data directory.

    KeysError
    |-- MisuseError                      you called us wrongly
    |   |-- InvalidName
    |   |-- InvalidValue
    |   |-- PolicyInvalid
    |   |-- NotTheIssuer
    |   `-- HybridUnavailable            in `keys.sealing`
    |-- Refused                          the other side showed something that we do not accept
    |   |-- CertificateRefused           one class per check, in `keys.refusals`
    |   |-- RecordRefused                one class per check, in `keys.refusals`
    |   |-- SealedRefused, SealingKeyRefused   one class per check, in `keys.sealing`
    |   |-- CeremonyRefused              one class per reason, in `keys.ceremonies.refusals`
    |   |-- RevocationRefused            one class per check, in `keys.revocation_refusals`
    |   |-- GenesisRefused
    |   |-- RosterRefused
    |   |-- TicketRefused                TicketMalformed, TicketUnknown, TicketExpired,
    |   |                                TicketUsed, TicketWrongSecret
    |   |-- JoinRefused                  JoinRequestMalformed, JoinWrongNetwork,
    |   |                                JoinBadSignature, JoinKeyRevoked, IssuerUnable
    |   |-- RenewalRefused               RenewalMalformed, RenewalNotSigned, RenewalClockOff,
    |   |                                RenewalTooOften, RenewalBeyondIssuer
    |   `-- GrantRefused
    `-- KeystoreError                    the data directory is not as it must be
        |-- NoNetworkYet                 |-- PassphraseNeeded
        |-- HomeExists                   |-- PassphraseWrong
        |-- HomeInUse                    |-- SecretUnreadable
        |-- HomeIncomplete               |-- RosterConflict
        |-- ForeignDirectory             |-- IssuerKeyMissing
        |-- NewerHome                    |-- HomeDamaged
        |-- InsecurePermissions          `-- AuditUnwritable
        `-- HomeUnreadable

Every `Refused` has a stable `code` for counters and for the wire, and is *definite*: what was
refused certainly had no effect. Public input is quoted, a secret never.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class KeysError(Exception):
    """Root of this package's errors."""

    definite: ClassVar[bool] = True


class MisuseError(KeysError):
    """The caller did something that can never work."""


class InvalidName(MisuseError):
    def __init__(self, what: str, name: str, problem: str) -> None:
        super().__init__(f"{name[:80]!r} cannot be a {what}: {problem}")
        self.name = name
        self.problem = problem


class InvalidValue(MisuseError):
    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem


class PolicyInvalid(MisuseError):
    """A policy that is not understood as a whole; nothing of it is in force."""

    def __init__(
        self,
        where: str,
        problem: str,
        rule: str | None = None,
        field: str | None = None,
        line: int | None = None,
    ) -> None:
        place = where if line is None else f"{where}, line {line}"
        if rule is not None:
            place += f": rule {rule[:80]!r}"
        if field is not None:
            place += f", {field[:80]}"
        super().__init__(f"{place}: {problem}")
        self.where = where
        self.problem = problem
        self.rule = rule
        self.field = field
        self.line = line


class NotTheIssuer(MisuseError):
    """This node holds no issuer key, or not the one that made the network."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs the issuer's key, which is not in this data directory; "
            "do it on the machine that ran `conclave init`, or after `conclave issuer install`"
        )


class Refused(KeysError):
    """The other side showed something that we do not accept; nothing happened."""

    code: ClassVar[str] = "refused"


class CertificateRefused(Refused):
    """A certificate or a chain does not prove what it claims."""

    code = "certificate"


class RecordRefused(Refused):
    """A transport record does not prove where its peer is."""

    code = "record"


class GenesisRefused(Refused):
    code = "genesis"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the genesis of this network is refused: {problem}")
        self.problem = problem


class RosterRefused(Refused):
    code = "roster"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the voter roster is refused: {problem}")
        self.problem = problem


class TicketRefused(Refused):
    """A ticket does not let its bearer in."""

    code = "ticket"


class TicketMalformed(TicketRefused):
    code = "ticket-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"this is not a whole ticket: {problem}; "
            "copy the full line that `conclave invite` printed"
        )
        self.problem = problem


class TicketUnknown(TicketRefused):
    code = "ticket-unknown"

    def __init__(self, ticket_id: str) -> None:
        super().__init__(
            f"ticket {ticket_id} was not made by this issuer, or was cleared away long after it "
            "expired; ask for a new one from `conclave invite`"
        )
        self.ticket_id = ticket_id


class TicketExpired(TicketRefused):
    code = "ticket-expired"

    def __init__(self, ticket_id: str, late_ms: int) -> None:
        super().__init__(
            f"ticket {ticket_id} expired {max(0, late_ms) // 1000} s ago; "
            "ask for a new one from `conclave invite`"
        )
        self.ticket_id = ticket_id
        self.late_ms = late_ms


class TicketUsed(TicketRefused):
    code = "ticket-used"

    def __init__(self, ticket_id: str) -> None:
        super().__init__(
            f"ticket {ticket_id} was already used by another node, and a ticket works once; "
            "ask for a new one, and ask who used this one"
        )
        self.ticket_id = ticket_id


class TicketWrongSecret(TicketRefused):
    code = "ticket-wrong-secret"

    def __init__(self, ticket_id: str) -> None:
        super().__init__(
            f"the sender of the join request does not know the secret of ticket {ticket_id}, "
            "or made the request for another connection"
        )
        self.ticket_id = ticket_id


class JoinRefused(Refused):
    """A join request is not one that an issuer can look at."""

    code = "join"


class JoinRequestMalformed(JoinRefused):
    code = "join-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the join request cannot be read: {problem}")
        self.problem = problem


class JoinWrongNetwork(JoinRefused):
    code = "join-wrong-network"

    def __init__(self, wanted: str, ours: str) -> None:
        super().__init__(f"the ticket is for network {wanted}, this is network {ours}")
        self.wanted = wanted
        self.ours = ours


class JoinBadSignature(JoinRefused):
    code = "join-bad-signature"

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"the join request is not signed by the key of {peer_id} that it names")
        self.peer_id = peer_id


class IssuerUnable(JoinRefused):
    """The request is in order, and this issuer cannot issue."""

    code = "join-issuer-unable"

    def __init__(self, problem: str) -> None:
        super().__init__(f"this issuer cannot issue now: {problem}; its operator must look")
        self.problem = problem


class RenewalRefused(Refused):
    """A certificate is not renewed; the member's papers are as they were."""

    code = "renewal"


class RenewalMalformed(RenewalRefused):
    code = "renewal-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the request for renewal cannot be read: {problem}")
        self.problem = problem


class RenewalNotSigned(RenewalRefused):
    code = "renewal-not-signed"

    def __init__(self, peer_id: str) -> None:
        super().__init__(f"the request for renewal is not signed by {peer_id}, whom it is about")
        self.peer_id = peer_id


class RenewalClockOff(RenewalRefused):
    code = "renewal-clock"

    def __init__(self, ahead_ms: int) -> None:
        direction = "ahead of" if ahead_ms > 0 else "behind"
        super().__init__(
            f"the member's clock is {abs(ahead_ms) / 1000:,.0f} s {direction} the issuer's; "
            "set the clock that is wrong"
        )
        self.ahead_ms = ahead_ms


class RenewalTooOften(RenewalRefused):
    code = "renewal-too-often"

    def __init__(self, name: str, count: int) -> None:
        super().__init__(f"{name!r} was given {count} certificates within the last minute")
        self.count = count


class RenewalBeyondIssuer(RenewalRefused):
    """Another issuer may be able to; nothing is taken away silently."""

    code = "renewal-beyond-issuer"

    def __init__(self, problem: str) -> None:
        super().__init__(f"this issuer may not give what the certificate holds: {problem}")
        self.problem = problem


class GrantRefused(Refused):
    """What came back from a join does not make us a member of the ticket's network."""

    code = "grant"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the answer to our join request is refused: {problem}; nothing was stored, "
            "so the same ticket can be tried again with the same key"
        )
        self.problem = problem


class KeystoreError(KeysError):
    """The data directory is not as it must be."""


class NoNetworkYet(KeystoreError):
    def __init__(self, home: Path) -> None:
        super().__init__(
            f"{home} belongs to no network yet; make one with `conclave init lab` "
            "(any name will do), or join one with `conclave join TICKET`"
        )
        self.home = home


class HomeExists(KeystoreError):
    def __init__(self, home: Path) -> None:
        super().__init__(
            f"{home} already belongs to a network; choose another directory with --home, "
            "or move this one away first"
        )
        self.home = home


class HomeInUse(KeystoreError):
    def __init__(self, home: Path, pid: int | None) -> None:
        by = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{home} is in use by {by}; stop it, or give this node its own directory with --home"
        )
        self.home = home
        self.pid = pid


class HomeIncomplete(KeystoreError):
    def __init__(self, home: Path) -> None:
        super().__init__(
            f"an earlier `init` or `join` into {home} was interrupted before it ended; repeat the "
            "same join, or delete the directory and begin again"
        )
        self.home = home


class ForeignDirectory(KeystoreError):
    def __init__(self, home: Path, found: str) -> None:
        super().__init__(
            f"{home} holds {found!r} and is not a Conclave data directory; "
            "choose an empty directory with --home"
        )
        self.home = home
        self.found = found


class NewerHome(KeystoreError):
    def __init__(self, home: Path, version: int, known: int) -> None:
        super().__init__(
            f"{home} has format {version} and this program knows up to {known}; "
            "upgrade Conclave on this machine"
        )
        self.home = home
        self.version = version


class InsecurePermissions(KeystoreError):
    def __init__(self, path: Path, mode: int, wanted: int) -> None:
        super().__init__(
            f"{path} has mode {mode:04o}, so other users may reach it; "
            f"run `chmod {wanted:o} {path}`, and if they may have read it make a new identity"
        )
        self.path = path
        self.mode = mode


class HomeUnreadable(KeystoreError):
    def __init__(self, path: Path, tried: str, reason: str) -> None:
        super().__init__(
            f"cannot {tried} {path}: {reason}; check the owner of the directory and the disk, "
            "or choose another directory with --home"
        )
        self.path = path
        self.reason = reason


class AuditUnwritable(KeystoreError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the audit log in {path} cannot be written: {reason}; make room on that disk"
        )
        self.path = path
        self.reason = reason


class HomeDamaged(KeystoreError):
    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} is damaged: {problem}; restore it from a backup, "
            "or move the directory away and join again"
        )
        self.path = path
        self.problem = problem


class PassphraseNeeded(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is sealed with a passphrase and none was given; "
            "name a file that holds it in CONCLAVE_PASSPHRASE_FILE, or run this at a terminal"
        )
        self.path = path


class PassphraseWrong(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"the passphrase does not open {path}, or the file was changed")
        self.path = path


class SecretUnreadable(KeystoreError):
    """A secret file is cut off, of an unknown kind, or demands absurd work to open."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"the secret file {path} is refused: {problem}; restore it from a backup")
        self.path = path
        self.problem = problem


class IssuerKeyMissing(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not belong to the issuer named in this node's chain")
        self.path = path


class RosterConflict(KeystoreError):
    """Two different first rosters exist. Following both would let two islands both begin."""

    def __init__(self, path: Path, stored: str, offered: str) -> None:
        super().__init__(
            f"{path} already names the voters {stored}; a second first roster with {offered} is "
            "refused: a network has one, find out which node was told the other"
        )
        self.path = path
