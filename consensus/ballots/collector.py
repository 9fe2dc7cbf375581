"""The proposer's side: asks every voter until the tally is decided, and shows who cheated.

    events    Opened, BallotReceived, ExpiryDecided, Tick
    effects   AskVoter, Decided, ApprovalImpossible, ExpiryDue, EvidenceFound, Refused

A collector holds one proposal. Ballots may come from anybody, since they are signed; a collector
that is started again for the same proposal asks again and gets the same ballots. Who has answered
is not asked again, not even one shown to vote twice.

The local deadline decides nothing (V7). When it has passed the collector says `ExpiryDue`, so that
somebody proposes the expiry to the log; only `ExpiryDecided`, which comes back from there, ends it.
Until then a ballot that decides still decides, and the log says which of the two came first.

Nor does it decide anything that yes can no longer pass. `ApprovalImpossible` says so to people; a
quorum of noes or a veto may still follow; else the log ends it, with the ballots in `blocking`.

What this module does not know: the network, the log, clocks: time comes in with every step.

Invariants: `Decided` is given once, `ApprovalImpossible` at most once and before it; no voter is
asked after the decision; ballots and refusals of a flooding
peer take no memory beyond two ballots of each elector.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from consensus.ballots.ballot import Ballot, Evidence, contradict
from consensus.ballots.blocking import Blocking
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.errors import BallotFault, BallotInvalid, Malformed
from consensus.ballots.proposal import Proposal
from consensus.ballots.scheme import Scheme
from consensus.ballots.tally import Status, Tally

ASK_AGAIN_MS: Final = 2_000


# -- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The log opened this proposal; its deadline runs from now."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class BallotReceived:
    sender: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ExpiryDecided:
    """The log says that this proposal's time is over."""

    proposal_id: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time has passed."""


Event = Opened | BallotReceived | ExpiryDecided | Tick


# -- effects -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskVoter:
    peer_id: str
    proposal: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """The end. An expiry has no certificate: it is proved by the log."""

    status: Status
    certificate: QuorumCertificate | None


@dataclass(frozen=True, slots=True)
class ApprovalImpossible:
    """Whatever the others say it will not be approved, and it is not rejected: nothing is decided.

    Tell people, and have the log end it with `Collector.blocking` unless a `Decided` comes before.
    """

    proposal_id: str


@dataclass(frozen=True, slots=True)
class ExpiryDue:
    """The deadline has passed here: propose the expiry to the log, which checks its own time."""

    proposal_id: str


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Refused:
    sender: str
    fault: BallotFault


Effect = AskVoter | Decided | ApprovalImpossible | ExpiryDue | EvidenceFound | Refused


class Collector:
    """One proposal's ballots. `step` never raises on what a peer sent."""

    def __init__(self, scheme: Scheme, ask_again_ms: int = ASK_AGAIN_MS) -> None:
        assert ask_again_ms > 0, ask_again_ms
        self._scheme = scheme
        self._ask_again_ms = ask_again_ms
        self._tally: Tally | None = None
        self._ask_at_ms = 0
        self._due_at_ms = 0
        self._accused: set[bytes] = set()
        self._impossible_said = False
        self.refusals: Counter[BallotFault] = Counter()

    @property
    def status(self) -> Status:
        return self._tally.status if self._tally else Status.OPEN

    @property
    def can_pass(self) -> bool:
        """Whether it was approved or still can be, as far as it is known here."""
        return self._tally is None or self._tally.can_pass

    def blocking(self) -> Blocking | None:
        """What shows the log that it cannot be approved any more, if it is so and not decided."""
        return Blocking.of(self._tally) if self._tally else None

    @property
    def deadline_ms(self) -> int | None:
        """When the next `Tick` is wanted at the latest."""
        if self._tally is None or self._tally.status is not Status.OPEN:
            return None
        return min(self._ask_at_ms, self._due_at_ms)

    def step(self, event: Event, *, now_ms: int) -> list[Effect]:
        match event:
            case Opened():
                return self._on_opened(event, now_ms)
            case BallotReceived():
                return self._on_ballot(event)
            case ExpiryDecided():
                return self._on_expiry(event)
            case Tick():
                return self._on_tick(now_ms)

    def _on_opened(self, event: Opened, now_ms: int) -> list[Effect]:
        if self._tally is not None:
            assert self._tally.proposal == event.proposal, "a collector holds one proposal"
            return []
        self._tally = Tally(event.proposal)
        self._ask_at_ms = now_ms
        self._due_at_ms = now_ms + event.proposal.deadline_ms
        return self._on_tick(now_ms)

    def _on_ballot(self, event: BallotReceived) -> list[Effect]:
        if self._tally is None:
            return [self._refuse(event.sender, BallotFault.OTHER_PROPOSAL)]
        try:
            ballot = Ballot.decode(event.data)
        except Malformed:
            return [self._refuse(event.sender, BallotFault.MALFORMED)]
        try:
            checked = ballot.check(self._tally.proposal, self._scheme)
        except BallotInvalid as error:
            return [*self._accuse(ballot), self._refuse(event.sender, error.fault)]
        was = self._tally.status
        _, evidence = self._tally.add(checked)
        effects: list[Effect] = []
        if evidence is not None and ballot.voter not in self._accused:
            self._accused.add(ballot.voter)
            effects.append(EvidenceFound(evidence))
        if was is Status.OPEN and self._tally.status is not Status.OPEN:
            effects.append(self._decided())
        if self._tally.status is Status.OPEN and not self._tally.can_pass:
            effects += self._impossible(self._tally.proposal.proposal_id)
        return effects

    def _impossible(self, proposal_id: str) -> list[Effect]:
        if self._impossible_said:
            return []
        self._impossible_said = True
        return [ApprovalImpossible(proposal_id)]

    def _accuse(self, ballot: Ballot) -> list[Effect]:
        """A ballot that does not count here may still contradict one that does.

        For another text under the same id and round, say. It weighs nothing in this tally, since
        only ballots on this text can stand in its certificate.
        """
        assert self._tally is not None
        counted = self._tally.ballot_of(ballot.voter)
        if counted is None or ballot.voter in self._accused or not contradict(counted, ballot):
            return []
        try:
            ballot.check_signature(self._scheme)
        except BallotInvalid:
            return []
        self._accused.add(ballot.voter)
        return [EvidenceFound(Evidence.of(counted, ballot))]

    def _on_expiry(self, event: ExpiryDecided) -> list[Effect]:
        tally = self._tally
        if tally is None or event.proposal_id != tally.proposal.proposal_id:
            return []
        if tally.status is not Status.OPEN:
            return []
        tally.expire()
        return [self._decided()]

    def _on_tick(self, now_ms: int) -> list[Effect]:
        tally = self._tally
        if tally is None or tally.status is not Status.OPEN:
            return []
        effects: list[Effect] = []
        if now_ms >= self._due_at_ms:
            self._due_at_ms = now_ms + self._ask_again_ms
            effects.append(ExpiryDue(tally.proposal.proposal_id))
        if now_ms >= self._ask_at_ms:
            self._ask_at_ms = now_ms + self._ask_again_ms
            raw = tally.proposal.raw
            effects += [AskVoter(elector.peer_id, raw) for elector in tally.silent()]
        return effects

    def _decided(self) -> Decided:
        assert self._tally is not None
        return Decided(self._tally.status, QuorumCertificate.of(self._tally))

    def _refuse(self, sender: str, fault: BallotFault) -> Refused:
        self.refusals[fault] += 1
        return Refused(sender, fault)
