"""What can go wrong with signed decisions, split by whose fault it is.

    BallotsError
    |- ProposalInvalid        you: a proposal that cannot be put to a vote
    |  '- NotByzantine        too few electors to outvote even one that lies
    |- Malformed              the other side: bytes that are none of our objects
    |- BallotInvalid          the other side: a ballot that does not count here
    |- EvidenceInvalid        the other side: two ballots that accuse nobody
    |- CertificateInvalid     the other side: a certificate that proves nothing
    |- AlreadyVoted           you: a second, different ballot was about to be stored
    |- BallotForgotten        you: a ballot where one was, and was let go, was about to be
    '- EpochForgotten         you: a ballot of an epoch whose ballots are gone was about to be

    StorageError (of `consensus.errors`: a faulty disk, a file of somebody else's, as for the log)
    |- BoxDamaged             the world: a ballot that was stored cannot be read any more
    '- BoxExposed             the world: others may change the box

What this module does not know: any type of this package. Every class writes its message from data.
"""

from __future__ import annotations

from enum import StrEnum

from consensus.errors import ConsensusError, StorageError


class BallotsError(ConsensusError):
    """Root of what this package raises on purpose."""


class ProposalInvalid(BallotsError):
    """A proposal that cannot be put to a vote, named by field."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(f"this proposal cannot be put to a vote: {field}: {why}")


class NotByzantine(ProposalInvalid):
    """Fewer than four electors tolerate no liar at all: (n - 1) // 3 is zero."""

    def __init__(self, electors: int) -> None:
        self.electors = electors
        super().__init__(
            "byzantine",
            f"{electors} electors cannot outvote one that lies; it takes four, or ask without"
            " byzantine=True",
        )


class Malformed(BallotsError):
    """Bytes that are none of our objects."""

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        self.why = why
        super().__init__(f"these bytes are no {what}: {why}")


class SignatureFault(StrEnum):
    """Why a signature is not accepted, before and after the library is asked."""

    LENGTH = "a key is 32 bytes and a signature 64"
    KEY_NOT_CANONICAL = "the key has another, shorter form"
    KEY_NOT_A_POINT = "the key is no point of the curve"
    KEY_SMALL_ORDER = "the key is of small order: it accepts signatures that nobody made"
    KEY_MIXED_ORDER = "the key lies outside the group: libraries may disagree about it"
    R_NOT_CANONICAL = "R has another, shorter form"
    R_SMALL_ORDER = "R is of small order"
    S_NOT_REDUCED = "S is not below the order of the group: the signature was altered"
    WRONG = "this key did not sign this"


class BallotFault(StrEnum):
    """Why a ballot does not count for a proposal."""

    MALFORMED = "malformed"
    OTHER_CLUSTER = "of another cluster"
    OTHER_EPOCH = "of another epoch"
    OTHER_ELECTORATE = "for another electorate"
    OTHER_PROPOSAL = "for another proposal"
    OTHER_TEXT = "for another text under the same proposal id and round"
    OTHER_ROUND = "of another round"
    FOREIGN_VOTER = "by a key that is no elector"
    NO_VETO_RIGHT = "a veto by an elector that has none"
    SIGNATURE = "not signed by its voter"


class BallotInvalid(BallotsError):
    """A ballot that does not count here; `who` is the voter as far as it is known."""

    def __init__(self, fault: BallotFault, who: str, why: str = "") -> None:
        self.fault = fault
        self.who = who
        self.why = why
        more = f" ({why})" if why else ""
        super().__init__(f"the ballot of {who} is {fault.value}{more}; it is not counted")


class EvidenceInvalid(BallotsError):
    """Two ballots that do not prove that one voter voted twice."""

    def __init__(self, who: str, why: str) -> None:
        self.who = who
        self.why = why
        super().__init__(f"this is no evidence against {who}: {why}")


class CertificateFault(StrEnum):
    """Why a certificate proves nothing."""

    TOO_LARGE = "too large"
    MALFORMED = "malformed"
    OTHER_ELECTORATE = "of another electorate"
    NAMED_WRONGLY = "an elector's id is not that of its key"
    WEAK_KEY = "an elector's key is not acceptable"
    NOT_SORTED = "ballots out of order, or one there twice"
    TOO_MANY_BALLOTS = "more than two ballots of one voter"
    FOREIGN_SIGNER = "signed by a key that is no elector"
    OTHER_STATEMENT = "a ballot says something about another proposal"
    NO_VETO_RIGHT = "a veto by an elector that has none"
    SIGNATURE = "a ballot is not signed by its voter"
    NOT_DECIDED = "its ballots do not decide"
    OTHER_OUTCOME = "its ballots decide otherwise"


class CertificateInvalid(BallotsError):
    """A certificate that proves nothing; `who` names the voter at fault, if it is one."""

    def __init__(self, fault: CertificateFault, who: str = "", why: str = "") -> None:
        self.fault = fault
        self.who = who
        self.why = why
        by = f" ({who})" if who else ""
        more = f": {why}" if why else ""
        super().__init__(f"this certificate proves nothing: {fault.value}{by}{more}")


class AlreadyVoted(BallotsError):
    """This voter has a ballot for that proposal and round, and it is a different one."""

    def __init__(self, proposal_id: str, round_number: int) -> None:
        self.proposal_id = proposal_id
        self.round = round_number
        super().__init__(
            f"a ballot on proposal {proposal_id}, round {round_number}, is stored already and"
            " says something else: a second one would be evidence against this node"
        )


class BallotForgotten(BallotsError):
    """This voter has voted there, and no longer knows how."""

    def __init__(self, proposal_id: str, round_number: int) -> None:
        self.proposal_id = proposal_id
        self.round = round_number
        super().__init__(
            f"a ballot on proposal {proposal_id}, round {round_number}, was made long ago and let"
            " go: ask under another id"
        )


class EpochForgotten(BallotsError):
    """The ballots of that epoch are gone, so it cannot be known that there was none."""

    def __init__(self, proposal_id: str, epoch: int, floor: int) -> None:
        self.proposal_id = proposal_id
        self.epoch = epoch
        self.floor = floor
        super().__init__(
            f"proposal {proposal_id} is of epoch {epoch} and ballots before epoch {floor} were"
            " forgotten: vote on a proposal of a newer one"
        )


class BoxDamaged(StorageError):
    """What this node has voted cannot be known, so it must not vote as this voter again."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: the ballot box is damaged ({why}): let the node rejoin under a new identity,"
            " it could vote twice under this one"
        )


class BoxExposed(StorageError):
    """Somebody else may change what this node remembers of its votes."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{path} {why}: set its owner and `chmod 600` it before the node votes")
