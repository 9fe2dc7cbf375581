"""Signed decisions by named voters: questions, ballots, the count, and certificates that anyone can
verify offline from their bytes. `DESIGN.md` says what they prove, and what they do not.

What this package does not know: how messages travel, which signature library there is (a `Signer`
and a `SignatureCheck` come from outside), and how an epoch gets its voters.
"""

from consensus.votes.accusation import Accusation, conflict
from consensus.votes.ballot import (
    Ballot,
    CheckedBallot,
    Choice,
    check_ballot,
    check_genuine,
    check_slot,
)
from consensus.votes.ballot_box import BallotBox, MemoryBallotBox, SqliteBallotBox
from consensus.votes.certificate import (
    MAX_CERTIFICATE_BYTES,
    Outcome,
    QuorumCertificate,
    Weights,
)
from consensus.votes.collector import (
    AskExpiry,
    AskVoter,
    BallotReceived,
    CannotPass,
    Collector,
    Decided,
    EvidenceFound,
    Expired,
    Opened,
    Refused,
    Tick,
)
from consensus.votes.documents import certificate_from_json, certificate_to_json
from consensus.votes.electorate import (
    TWO_THIRDS,
    Electorate,
    Threshold,
    Voter,
    byzantine_faults,
    quorum,
)
from consensus.votes.errors import (
    BallotConflict,
    BallotFault,
    BallotImpossible,
    BallotRefused,
    CertificateFault,
    CertificateInvalid,
    ElectorateInvalid,
    EvidenceInvalid,
    NotByzantine,
    ProposalFault,
    ProposalInvalid,
    ProposalRefused,
    Undecided,
    VotesError,
)
from consensus.votes.evidence import Evidence, ProposerEvidence
from consensus.votes.explain import Explanation, verify_file
from consensus.votes.question import Header, Proposal, SignedHeader, SignedProposal, Slot
from consensus.votes.signing import SignatureCheck, Signer, is_strict
from consensus.votes.tally import Added, ExpiryDecided, Status, Tally
from consensus.votes.verify import Verified, verify
from consensus.votes.voter import (
    CastRecord,
    Deliberate,
    ProposerEvidenceFound,
    RefuseProposal,
    SendBallot,
    Store,
    VotingCore,
)

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "TWO_THIRDS",
    "Accusation",
    "Added",
    "AskExpiry",
    "AskVoter",
    "Ballot",
    "BallotBox",
    "BallotConflict",
    "BallotFault",
    "BallotImpossible",
    "BallotReceived",
    "BallotRefused",
    "CannotPass",
    "CastRecord",
    "CertificateFault",
    "CertificateInvalid",
    "CheckedBallot",
    "Choice",
    "Collector",
    "Decided",
    "Deliberate",
    "Electorate",
    "ElectorateInvalid",
    "Evidence",
    "EvidenceFound",
    "EvidenceInvalid",
    "Expired",
    "ExpiryDecided",
    "Explanation",
    "Header",
    "MemoryBallotBox",
    "NotByzantine",
    "Opened",
    "Outcome",
    "Proposal",
    "ProposalFault",
    "ProposalInvalid",
    "ProposalRefused",
    "ProposerEvidence",
    "ProposerEvidenceFound",
    "QuorumCertificate",
    "RefuseProposal",
    "Refused",
    "SendBallot",
    "SignatureCheck",
    "SignedHeader",
    "SignedProposal",
    "Signer",
    "Slot",
    "SqliteBallotBox",
    "Status",
    "Store",
    "Tally",
    "Threshold",
    "Tick",
    "Undecided",
    "Verified",
    "Voter",
    "VotesError",
    "VotingCore",
    "Weights",
    "byzantine_faults",
    "certificate_from_json",
    "certificate_to_json",
    "check_ballot",
    "check_genuine",
    "check_slot",
    "conflict",
    "is_strict",
    "quorum",
    "verify",
    "verify_file",
]
