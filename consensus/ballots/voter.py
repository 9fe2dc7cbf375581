"""The voter's side: one ballot a proposal and round, on disk before it is sent, ever the same (V4).

    events    EpochBegan, ProposalOpened, ProposalClosed, ProposalReceived, ChoiceMade,
              ForgetRequested
    effects   AskChoice, StoreBallot, SendBallot, ForgetBallots, TwoTextsFound, Refused

Effects run in list order, and `StoreBallot` is durable before the `SendBallot` behind it leaves. A
ballot is stored again whenever it is sent again: that costs nothing when it is there, and it means
that a send never follows a store that failed. After a restart the box's ballots come in through the
constructor, so the same question gets the same bytes.

A proposal is taken from its proposer, or from anybody once the log has opened that very text. A
second text under one id and round is refused and reported with who brought each; if nothing was
signed yet, the text that the log opened takes the place of one that a peer brought. Whoever asks
for a text that we voted on gets the ballot: it is no secret.

What this module does not know: how a choice is made, disks, the network, time.

Invariants: for one (proposal id, round) at most one ballot is ever signed; nothing is signed for an
epoch whose electorate the log has not named, nor for one whose ballots were forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.errors import BallotInvalid, Malformed
from consensus.ballots.proposal import Elector, Proposal, electorate_digest
from consensus.ballots.scheme import Signer

MAX_PENDING: Final = 64  # proposals that wait for a choice
MAX_PENDING_EACH: Final = 8  # of them, those that one peer brought and the log does not know
MAX_ASKERS: Final = 8  # who waits for one ballot
MAX_EPOCHS: Final = 16

_Place = tuple[str, int]  # proposal id and round


class Refusal(StrEnum):
    """Why a voter does nothing with what it was given."""

    MALFORMED = "not a proposal"
    OTHER_CLUSTER = "of another cluster"
    UNKNOWN_EPOCH = "of an epoch that this node does not know"
    FORGOTTEN_EPOCH = "of an epoch whose ballots were forgotten"
    FORGOTTEN_BALLOT = "this node voted on it long ago, and no longer knows how"
    OTHER_ELECTORATE = "with other electors than the epoch has"
    NOT_AN_ELECTOR = "this node does not vote on it"
    NOT_ITS_PROPOSER = "brought by somebody who did not make it, and the log does not know it"
    TWO_TEXTS = "another text under an id and round that this node has seen"
    TOO_MANY = "too many proposals wait for a choice"
    UNKNOWN_PROPOSAL = "no such proposal waits for a choice"
    VOTED_ALREADY = "this node has voted on it, and otherwise"
    NO_VETO_RIGHT = "this node has no right to a veto"
    REASON_TOO_LONG = "the reason is too long, or no text that has bytes"


# -- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EpochBegan:
    """The log says who votes from here on."""

    epoch: int
    electors: tuple[Elector, ...]


@dataclass(frozen=True, slots=True)
class ProposalOpened:
    """The log opened this proposal."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ProposalClosed:
    """The log decided on it, or that its time was over: nobody needs our choice any more."""

    proposal_id: str


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """An authenticated peer asks for our ballot on this."""

    sender: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ChoiceMade:
    """The owner of this node has decided."""

    proposal_id: str
    round: int
    choice: Choice
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ForgetRequested:
    """No proposal of an epoch below this one will be voted on here any more."""

    below_epoch: int


Event = (
    EpochBegan | ProposalOpened | ProposalClosed | ProposalReceived | ChoiceMade | ForgetRequested
)


# -- effects -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskChoice:
    """Somebody must decide; `ChoiceMade` answers."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class StoreBallot:
    """Durable before the next effect runs; if it fails the next ones must not run."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class SendBallot:
    to: str
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class ForgetBallots:
    below_epoch: int


@dataclass(frozen=True, slots=True)
class TwoTextsFound:
    """One id and round with two texts. `None` for a bearer means the log, or one before a restart.

    Texts are not signed by their proposer, so this accuses bearers before people, not before a
    third party.
    """

    proposal_id: str
    round: int
    first_digest: bytes
    first_from: str | None
    second_digest: bytes
    second_from: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """`who` is the sender, or None for something of our own or of the log."""

    who: str | None
    why: Refusal


Effect = AskChoice | StoreBallot | SendBallot | ForgetBallots | TwoTextsFound | Refused


@dataclass(slots=True)
class _Pending:
    proposal: Proposal
    bearer: str | None
    is_opened: bool
    askers: list[str] = field(default_factory=list)


class Voter:
    """One elector. `step` never raises on what a peer sent."""

    def __init__(
        self,
        signer: Signer,
        cluster_id: str,
        ballots: Iterable[bytes] = (),
        floor: int = 0,
        forgotten: Iterable[_Place] = (),
    ) -> None:
        """
        Args:
            ballots, floor, forgotten: what the ballot box holds.

        Raises:
            Malformed: the box gave back something other than a ballot.
        """
        self._signer = signer
        self._cluster_id = cluster_id
        self._floor = floor
        self._gone = set(forgotten)
        self._epochs: dict[int, bytes] = {}
        self._pending: dict[_Place, _Pending] = {}
        self._cast: dict[_Place, Ballot] = {}
        for raw in ballots:
            ballot = Ballot.decode(raw)
            assert ballot.voter == signer.public_key, "the box is another voter's"
            self._cast[ballot.proposal_id, ballot.round] = ballot

    def step(self, event: Event) -> list[Effect]:
        match event:
            case EpochBegan():
                return self._on_epoch(event)
            case ProposalOpened():
                return self._on_proposal(event.data, None)
            case ProposalClosed():
                for place in [p for p in self._pending if p[0] == event.proposal_id]:
                    del self._pending[place]
                return []
            case ProposalReceived():
                return self._on_proposal(event.data, event.sender)
            case ChoiceMade():
                return self._on_choice(event)
            case ForgetRequested():
                return self._on_forget(event)

    def forget(self, places: Iterable[_Place]) -> None:
        """The box has let these ballots go; nothing is signed there again."""
        for place in places:
            if self._cast.pop(place, None) is not None:
                self._gone.add(place)

    def pending(self) -> tuple[Proposal, ...]:
        """What waits for a choice, oldest first."""
        return tuple(each.proposal for each in self._pending.values())

    def _on_epoch(self, event: EpochBegan) -> list[Effect]:
        self._epochs[event.epoch] = electorate_digest(event.electors)
        for old in sorted(self._epochs)[:-MAX_EPOCHS]:
            del self._epochs[old]
        return []

    def _on_proposal(self, data: bytes, sender: str | None) -> list[Effect]:
        try:
            proposal = Proposal.decode(data)
        except Malformed:
            return [Refused(sender, Refusal.MALFORMED)]
        place = (proposal.proposal_id, proposal.round)
        ballot = self._cast.get(place)
        if ballot is not None and proposal.cluster_id == self._cluster_id:
            if ballot.proposal_digest != proposal.digest:
                return _two_texts(proposal, ballot.proposal_digest, None, sender)
            return self._answer(ballot, [sender] if sender is not None else [])
        why = self._refusal(proposal)
        if why is not None:
            return [Refused(sender, why)]
        known = self._pending.get(place)
        if known is None:
            return self._take(place, proposal, sender)
        return self._compare(place, known, proposal, sender)

    def _refusal(self, proposal: Proposal) -> Refusal | None:
        if proposal.cluster_id != self._cluster_id:
            return Refusal.OTHER_CLUSTER
        if (proposal.proposal_id, proposal.round) in self._gone:
            return Refusal.FORGOTTEN_BALLOT
        if proposal.epoch < self._floor:
            return Refusal.FORGOTTEN_EPOCH
        if proposal.epoch not in self._epochs:
            return Refusal.UNKNOWN_EPOCH
        if self._epochs[proposal.epoch] != proposal.electorate_digest:
            return Refusal.OTHER_ELECTORATE
        if proposal.elector(self._signer.public_key) is None:
            return Refusal.NOT_AN_ELECTOR
        return None

    def _take(self, place: _Place, proposal: Proposal, sender: str | None) -> list[Effect]:
        if sender not in {None, proposal.proposer}:
            return [Refused(sender, Refusal.NOT_ITS_PROPOSER)]
        if not self._make_room(sender):
            return [Refused(sender, Refusal.TOO_MANY)]
        self._pending[place] = _Pending(proposal, sender, sender is None, _names(sender))
        return [AskChoice(proposal)]

    def _make_room(self, sender: str | None) -> bool:
        """What the log opened goes before what peers brought, and of a peer the newest stay."""
        brought = [p for p, each in self._pending.items() if not each.is_opened]
        own = [p for p in brought if self._pending[p].bearer == sender]
        if len(own) >= MAX_PENDING_EACH:
            del self._pending[own[0]]
        elif sender is None and len(self._pending) >= MAX_PENDING and brought:
            del self._pending[brought[0]]
        return len(self._pending) < MAX_PENDING

    def _compare(
        self, place: _Place, known: _Pending, proposal: Proposal, sender: str | None
    ) -> list[Effect]:
        """A text for a place where one waits already."""
        if known.proposal.digest == proposal.digest:
            known.is_opened = known.is_opened or sender is None
            if sender not in {None, proposal.proposer} and not known.is_opened:
                return [Refused(sender, Refusal.NOT_ITS_PROPOSER)]
            if sender is not None and sender not in known.askers:
                known.askers = [*known.askers, sender][-MAX_ASKERS:]
            return []
        found = _two_texts(proposal, known.proposal.digest, known.bearer, sender)
        if sender is None and not known.is_opened:
            self._pending[place] = _Pending(proposal, None, True)
            return [*found[:1], AskChoice(proposal)]
        return found

    def _on_choice(self, event: ChoiceMade) -> list[Effect]:
        place = (event.proposal_id, event.round)
        cast = self._cast.get(place)
        if cast is not None:
            is_same = (cast.choice, cast.reason) == (event.choice, event.reason)
            return [] if is_same else [Refused(None, Refusal.VOTED_ALREADY)]
        pending = self._pending.get(place)
        if pending is None:
            return [Refused(None, Refusal.UNKNOWN_PROPOSAL)]
        try:
            ballot = Ballot.sign(self._signer, pending.proposal, event.choice, event.reason)
        except BallotInvalid:
            return [Refused(None, Refusal.NO_VETO_RIGHT)]
        except ValueError:
            return [Refused(None, Refusal.REASON_TOO_LONG)]
        self._cast[place] = ballot
        del self._pending[place]
        return self._answer(ballot, pending.askers)

    def _answer(self, ballot: Ballot, askers: list[str]) -> list[Effect]:
        return [StoreBallot(ballot), *(SendBallot(each, ballot) for each in askers)]

    def _on_forget(self, event: ForgetRequested) -> list[Effect]:
        if event.below_epoch <= self._floor:
            return []
        self._floor = event.below_epoch
        self._cast = {p: each for p, each in self._cast.items() if each.epoch >= self._floor}
        self._pending = {
            place: each
            for place, each in self._pending.items()
            if each.proposal.epoch >= self._floor
        }
        return [ForgetBallots(self._floor)]


def _names(sender: str | None) -> list[str]:
    return [] if sender is None else [sender]


def _two_texts(
    second: Proposal, first_digest: bytes, first_from: str | None, second_from: str | None
) -> list[Effect]:
    return [
        TwoTextsFound(
            proposal_id=second.proposal_id,
            round=second.round,
            first_digest=first_digest,
            first_from=first_from,
            second_digest=second.digest,
            second_from=second_from,
        ),
        Refused(second_from, Refusal.TWO_TEXTS),
    ]
