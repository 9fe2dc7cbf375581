"""Signed decisions of a quorum: proposals, ballots, tallies, certificates and their register.

The cores are pure; only `SqliteBox` touches a disk. Signatures come in as a `Scheme`. The design,
and what is guaranteed, are in DESIGN.md beside this file.
"""

from consensus.ballots.ballot import Ballot, CheckedBallot, Choice, Evidence
from consensus.ballots.blocking import Blocking
from consensus.ballots.box import BallotBox, MemoryBox
from consensus.ballots.certificate import MAX_CERTIFICATE_BYTES, QuorumCertificate
from consensus.ballots.certificate_json import from_json, to_json
from consensus.ballots.collector import (
    ApprovalImpossible,
    AskVoter,
    BallotReceived,
    Collector,
    Decided,
    EvidenceFound,
    ExpiryDecided,
    ExpiryDue,
    Opened,
    Tick,
)
from consensus.ballots.collector import Effect as CollectorEffect
from consensus.ballots.collector import Event as CollectorEvent
from consensus.ballots.collector import Refused as BallotRefused
from consensus.ballots.endings import in_words, said_in
from consensus.ballots.errors import (
    AlreadyVoted,
    BallotFault,
    BallotForgotten,
    BallotInvalid,
    BallotsError,
    BoxDamaged,
    BoxExposed,
    CertificateFault,
    CertificateInvalid,
    EpochForgotten,
    EvidenceInvalid,
    Malformed,
    NotByzantine,
    ProposalInvalid,
    SignatureFault,
)
from consensus.ballots.explaining import explain, is_valid
from consensus.ballots.proposal import Elector, Proposal, byzantine_faults, electorate_digest
from consensus.ballots.register import Register
from consensus.ballots.register_commands import Reply, ReplyCode
from consensus.ballots.register_commands import blocked as blocked_command
from consensus.ballots.register_commands import closed as closed_command
from consensus.ballots.register_commands import evidence as evidence_command
from consensus.ballots.register_commands import expired as expired_command
from consensus.ballots.register_commands import forgotten as forgotten_command
from consensus.ballots.register_commands import opened as opened_command
from consensus.ballots.register_snapshot import Decision
from consensus.ballots.scheme import Scheme, Signer
from consensus.ballots.sqlite_box import SqliteBox
from consensus.ballots.tally import Added, Count, Status, Tally
from consensus.ballots.verify import Accusation, SignedBy, Verified, conflict, verify
from consensus.ballots.voter import (
    AskChoice,
    ChoiceMade,
    EpochBegan,
    ForgetBallots,
    ForgetRequested,
    ProposalClosed,
    ProposalOpened,
    ProposalReceived,
    Refusal,
    SendBallot,
    StoreBallot,
    TwoTextsFound,
    Voter,
)
from consensus.ballots.voter import Effect as VoterEffect
from consensus.ballots.voter import Event as VoterEvent
from consensus.ballots.voter import Refused as RequestRefused

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "Accusation",
    "Added",
    "AlreadyVoted",
    "ApprovalImpossible",
    "AskChoice",
    "AskVoter",
    "Ballot",
    "BallotBox",
    "BallotFault",
    "BallotForgotten",
    "BallotInvalid",
    "BallotReceived",
    "BallotRefused",
    "BallotsError",
    "Blocking",
    "BoxDamaged",
    "BoxExposed",
    "CertificateFault",
    "CertificateInvalid",
    "CheckedBallot",
    "Choice",
    "ChoiceMade",
    "Collector",
    "CollectorEffect",
    "CollectorEvent",
    "Count",
    "Decided",
    "Decision",
    "Elector",
    "EpochBegan",
    "EpochForgotten",
    "Evidence",
    "EvidenceFound",
    "EvidenceInvalid",
    "ExpiryDecided",
    "ExpiryDue",
    "ForgetBallots",
    "ForgetRequested",
    "Malformed",
    "MemoryBox",
    "NotByzantine",
    "Opened",
    "Proposal",
    "ProposalClosed",
    "ProposalInvalid",
    "ProposalOpened",
    "ProposalReceived",
    "QuorumCertificate",
    "Refusal",
    "Register",
    "Reply",
    "ReplyCode",
    "RequestRefused",
    "Scheme",
    "SendBallot",
    "SignatureFault",
    "SignedBy",
    "Signer",
    "SqliteBox",
    "Status",
    "StoreBallot",
    "Tally",
    "Tick",
    "TwoTextsFound",
    "Verified",
    "Voter",
    "VoterEffect",
    "VoterEvent",
    "blocked_command",
    "byzantine_faults",
    "closed_command",
    "conflict",
    "electorate_digest",
    "evidence_command",
    "expired_command",
    "explain",
    "forgotten_command",
    "from_json",
    "in_words",
    "is_valid",
    "opened_command",
    "said_in",
    "to_json",
    "verify",
]
