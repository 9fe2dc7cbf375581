"""What can go wrong in signed votes, split by whose fault it is.

    ConsensusError
    '- VotesError
       |- ElectorateInvalid     you: voters, or a threshold, that cannot be
       |- NotByzantine          you: fewer than four voters tolerate no liar
       |- ProposalInvalid       you: a question that cannot be put to the vote
       |- BallotImpossible      you: this signer cannot cast this ballot
       |- Undecided             you: a certificate of a vote that has no signed outcome
       |- ProposalRefused       the other side: a question that we do not vote on
       |- BallotRefused         the other side: bytes that are no ballot of this vote
       |- CertificateInvalid    the other side: a certificate that does not prove its outcome
       |- EvidenceInvalid       the other side: evidence that proves nothing against anyone
       '- BallotConflict        our own disk holds another ballot of this vote: nothing may be sent

Every class that other people's bytes can cause has a `fault`, an Enum to be counted. All of them
are *definite*: what was refused had no effect. Public input is quoted, cut to a line.
"""

from __future__ import annotations

from enum import Enum

from consensus.errors import ConsensusError


class VotesError(ConsensusError):
    """Root of everything that signed votes raise on purpose."""


class ElectorateInvalid(VotesError):
    """Voters, or a threshold, that cannot be."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"this electorate is not possible: {why}")


class NotByzantine(VotesError):
    """A tolerance of lying voters was asked of too few voters."""

    def __init__(self, voters: int) -> None:
        self.voters = voters
        super().__init__(
            f"{voters} voters tolerate no lying voter: a vote is Byzantine from 4 voters on, where"
            " floor((n - 1) / 3) of n may lie"
        )


class ProposalInvalid(VotesError):
    """A question that cannot be put to the vote, named by field."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(f"a proposal's {field}: {why}")


class BallotImpossible(VotesError):
    """This signer cannot cast this ballot."""

    def __init__(self, voter: str, why: str) -> None:
        self.voter = voter
        self.why = why
        super().__init__(f"{voter} cannot cast this ballot: {why}")


class Undecided(VotesError):
    """A certificate was asked of a vote without a signed outcome."""

    def __init__(self, status: str) -> None:
        self.status = status
        super().__init__(
            f"a vote that is {status} has no certificate: its ballots prove no outcome"
        )


class ProposalFault(Enum):
    """Why a proposal is not voted on."""

    MALFORMED = "malformed"
    CLUSTER = "of another cluster"
    EPOCH = "of an epoch whose voters are not known here"
    ELECTORATE = "its electorate is not the one of its epoch"
    NO_VOICE = "this node is not among its voters"
    THRESHOLD = "its threshold is lower than this node accepts"
    SIGNATURE = "its proposer did not sign it"
    OTHER_QUESTION = "this node knows another question under its id and round"
    BUSY = "too many questions wait for this node's choice"


class ProposalRefused(VotesError):
    """A question that this node does not vote on."""

    def __init__(self, fault: ProposalFault, detail: str = "") -> None:
        self.fault = fault
        self.detail = detail
        super().__init__(f"a proposal is refused: {fault.value}{_more(detail)}")


class BallotFault(Enum):
    """Why bytes are no ballot of this vote."""

    MALFORMED = "malformed"
    CLUSTER = "of another cluster"
    EPOCH = "of another epoch"
    ELECTORATE = "of another electorate"
    PROPOSAL = "of another proposal"
    ROUND = "of another round"
    DIGEST = "about another question under the same id"
    FOREIGN = "its voter is not in the electorate"
    VETO = "its voter has no right of veto"
    SIGNATURE = "not signed by its voter"


class BallotRefused(VotesError):
    """Bytes that are no ballot of this vote; the collector counts them and goes on."""

    def __init__(self, fault: BallotFault, voter: str | None = None, detail: str = "") -> None:
        self.fault = fault
        self.voter = voter
        self.detail = detail
        super().__init__(f"a ballot{_of(voter)} is refused: {fault.value}{_more(detail)}")


class CertificateFault(Enum):
    """Why a certificate does not prove its outcome."""

    TOO_LARGE = "too large"
    MALFORMED = "malformed"
    CLUSTER = "of another cluster"
    EPOCH = "of another epoch"
    ELECTORATE = "of another electorate"
    WEAK = "its threshold is lower than was asked for"
    DIGEST = "wrong digest"
    UNSORTED = "its ballots are not sorted"
    DUPLICATE = "a voter is counted twice"
    FOREIGN = "a signer is not in the electorate"
    VETO = "a veto of a voter who has no right of veto"
    THRESHOLD = "the threshold is not met"
    UNHEARD = "approved without having heard a voter with the right of veto"
    OUTCOME = "its ballots have another outcome"
    SIGNATURE = "a signature is not of its voter"


class CertificateInvalid(VotesError):
    """A certificate that does not prove its outcome."""

    def __init__(self, fault: CertificateFault, voter: str | None = None, detail: str = "") -> None:
        self.fault = fault
        self.voter = voter
        self.detail = detail
        super().__init__(f"this certificate is not valid: {fault.value}{_of(voter)}{_more(detail)}")


class EvidenceInvalid(VotesError):
    """Evidence or an accusation that proves nothing against anyone."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"this evidence proves nothing: {why}")


class BallotConflict(VotesError):
    """Another ballot of this vote is on our disk: to send a second one is to cheat."""

    def __init__(self, path: str, proposal_id: bytes, round_number: int) -> None:
        self.path = path
        self.proposal_id = proposal_id
        self.round = round_number
        super().__init__(
            f"{path} holds another ballot for proposal {proposal_id.hex()}, round {round_number}:"
            " a second one is not stored and must not be sent"
        )


def _of(voter: str | None) -> str:
    return "" if voter is None else f" ({voter[:60]})"


def _more(detail: str) -> str:
    return f": {detail[:200]}" if detail else ""
