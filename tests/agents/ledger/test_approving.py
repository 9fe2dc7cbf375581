"""Work that was voted on, looked at by the worker itself: what it runs, and what no leader can make
it run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_lab import ANNA, BEN, spec, task_id
from voted_lab import NETWORK, NO, YES, VotedLab, certificate, elector, identity, terms

from agents.errors import ApprovalRefused, ApproverUnknown, BadAgent
from agents.hosting import Demand, demand_of
from agents.ledger import LeaseRef, Token, Work
from agents.ledger.voted import make_terms
from agents.tasking import Approvals
from consensus.ballots import Proposal
from keys import NetworkId, PeerId


@dataclass
class Known:
    """What the worker knows: who may decide, who votes in the log, who was never met."""

    members: set[PeerId] = field(default_factory=lambda: {identity(n).peer_id for n in range(5)})
    voters: set[PeerId] = field(default_factory=lambda: {identity(n).peer_id for n in range(3)})
    strangers: set[PeerId] = field(default_factory=set)

    def may_decide(self, peer_id: PeerId) -> bool | None:
        return None if peer_id in self.strangers else peer_id in self.members

    def is_majority(self, peer_ids: Collection[PeerId]) -> bool:
        return 2 * len(self.voters & set(peer_ids)) > len(self.voters)

    def name_of(self, peer_id: PeerId) -> str | None:
        numbers = [n for n in range(5) if identity(n).peer_id == peer_id]
        return f"voter {numbers[0]}" if numbers else None


class Desk:
    """A worker, and a ledger whose leader gives it work."""

    home = Path("nowhere")  # of one that takes nothing

    def __init__(self) -> None:
        self.lab = VotedLab()
        self.known = Known()
        self.start()

    def start(self) -> None:
        """The worker is up, for the first time or again."""
        self.approvals = Approvals(ANNA, NETWORK, self.known, self.home)

    def question(self, number: int = 1, voting: bytes | None = None) -> Proposal:
        self.lab.submit_voted(number, voting, payload=b"page")
        return self.lab.question(number)

    def given(self, number: int = 1) -> Work:
        """The work as its leader sends it, once it was approved."""
        verdict = self.lab.assign(number)
        work = self.lab.ledger.work(LeaseRef(task_id(number), verdict.token), 0)
        assert work is not None
        return Work.from_wire(list(work.to_wire()))

    def approved(self, *choices: object, number: int = 1, voting: bytes | None = None) -> Work:
        self.lab.close(self.question(number, voting), *choices)  # type: ignore[arg-type]
        return self.given(number)

    def takes(self, work: Work, demand: Demand | None = None) -> None:
        found = self.approvals.read(work, demand)
        if found is not None:
            self.approvals.check(found, work, demand)
            asyncio.run(self.approvals.use(found, work))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "home", tmp_path)


def test_work_that_a_vote_approved_comes_with_its_proof_and_is_taken() -> None:
    desk = Desk()
    work = desk.approved(YES, YES)
    assert work.proof
    desk.takes(work)
    desk.takes(work)  # the leader tells it again until it hears that it is known
    desk.takes(work, demand_of("ocr", "any"))
    desk.takes(work, demand_of("ocr", "voters"))
    desk.takes(work, demand_of("ocr", ["voter 0", identity(1).peer_id]))


def test_a_proof_that_the_register_forgot_is_none() -> None:
    desk = Desk()
    with pytest.raises(ApprovalRefused):
        desk.takes(desk.approved(YES, YES)._replace(proof=b""))


MISTAKES: dict[str, tuple[Callable[[Work], Work], str]] = {
    "another payload": (lambda w: w._replace(payload=b"rm -rf"), "another payload"),
    "another skill": (lambda w: w._replace(skill="deploy"), "another skill"),
    "another submitter": (lambda w: w._replace(submitter=BEN), "another skill, key or submitter"),
    "another key": (lambda w: w._replace(key="k"), "another skill, key"),
    "another task": (lambda w: w._replace(task_id=task_id(9)), "another task"),
    "an older lease": (lambda w: w._replace(token=Token(0)), "comes later"),
    "no proof": (lambda w: w._replace(proof=b"CNBC\x01"), "is not approved"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_approval_of_something_else_is_none(mistake: str) -> None:
    desk = Desk()
    change, words = MISTAKES[mistake]
    with pytest.raises(ApprovalRefused, match=words):
        desk.takes(change(desk.approved(YES, YES)))


def test_an_approval_of_another_worker_or_network_is_none(tmp_path: Path) -> None:
    desk = Desk()
    work = desk.approved(YES, YES)
    with pytest.raises(ApprovalRefused, match="for another worker"):
        Approvals(BEN, NETWORK, desk.known, tmp_path).read(work, None)
    with pytest.raises(ApprovalRefused, match="another network"):
        Approvals(ANNA, NetworkId("elsewhere"), desk.known, tmp_path).read(work, None)


def test_a_rejection_is_no_approval() -> None:
    desk = Desk()
    question = desk.question()
    rejected = certificate(question, NO, NO)
    desk.lab.close(question, YES, YES)
    with pytest.raises(ApprovalRefused, match="it says rejected"):
        desk.takes(desk.given()._replace(proof=rejected))


def test_those_who_approved_must_be_who_may_decide_as_the_worker_knows() -> None:
    desk = Desk()
    work = desk.approved(YES, YES)
    desk.known.members -= {identity(1).peer_id}  # revoked, or invented
    with pytest.raises(ApprovalRefused, match="only 1 of those who approved may decide here"):
        desk.takes(work)


def test_who_was_never_met_is_a_reason_to_try_elsewhere() -> None:
    desk = Desk()
    work = desk.approved(YES, YES)
    desk.known.strangers = {identity(1).peer_id}
    found = desk.approvals.read(work, None)
    assert found is not None
    assert desk.approvals.strangers(found) == [identity(1).peer_id]
    with pytest.raises(ApproverUnknown, match="is not known here"):
        desk.approvals.check(found, work, None)
    desk.known.strangers = set()
    desk.takes(work)


def test_a_leader_that_asks_only_itself_is_refused_where_voters_are_demanded() -> None:
    desk = Desk()
    work = desk.approved(YES, voting=terms_of((0,)))
    desk.takes(work)  # one member that may decide: as if its submitter had named it
    with pytest.raises(ApprovalRefused, match="no majority of the voters"):
        desk.takes(work, demand_of("ocr", "voters"))
    with pytest.raises(ApprovalRefused, match="voter 2 did not approve it"):
        desk.takes(work, demand_of("ocr", ("voter 0", "voter 2")))


def terms_of(voters: tuple[int, ...], weight: int = 1) -> bytes:
    on = spec(1, policy="vote", payload=b"page")
    if weight == 1:
        return terms(on, voters=voters)
    electors = [replace(elector(n), weight=weight if n == 0 else 1) for n in voters]
    made = Proposal.make(
        proposal_id="0" * 32,
        cluster_id=NETWORK,
        epoch=0,
        electors=electors,
        question="-",
        proposer=on.submitter,
        deadline_ms=5_000,
        threshold=(1, 2),
    )
    return make_terms(made, on)


def test_nobody_has_more_than_one_vote_on_a_task() -> None:
    desk = Desk()
    work = desk.approved(YES, voting=terms_of((0, 1, 2), weight=9))
    with pytest.raises(ApprovalRefused, match="every voter has one vote"):
        desk.takes(work)


def test_an_approval_serves_for_one_assignment() -> None:
    desk = Desk()
    work = desk.approved(YES, YES)
    desk.takes(work)
    with pytest.raises(ApprovalRefused, match="served for another assignment"):
        desk.takes(work._replace(token=Token(work.token + 5)))


def test_an_approval_that_has_served_serves_no_later_start_of_the_worker() -> None:
    desk = Desk()
    work, other = desk.approved(YES, YES), desk.approved(YES, YES, number=2)
    desk.takes(work)
    desk.start()
    for token in (work.token, Token(work.token + 5)):
        with pytest.raises(ApprovalRefused, match="before this node was started again"):
            desk.takes(work._replace(token=token))
    desk.takes(other)


def test_work_without_a_vote_is_taken_unless_the_handler_asks_for_one() -> None:
    desk = Desk()
    work = desk.approved(YES, YES)._replace(proof=None)
    desk.takes(work)
    for approval in ("any", "voters", ("voter 0",)):
        with pytest.raises(ApprovalRefused, match="nobody voted on it"):
            desk.takes(work, demand_of("ocr", approval))


@pytest.mark.parametrize("wrong", ["everybody", (), ("",), (1,)])
def test_a_demand_that_means_nothing_is_said_so(wrong: object) -> None:
    with pytest.raises(BadAgent, match="approval"):
        demand_of("ocr", wrong)  # type: ignore[arg-type]


@given(st.data())
def test_a_proof_with_any_byte_changed_is_refused_and_never_an_error(data: st.DataObject) -> None:
    proof = WORK.proof
    assert proof is not None
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = bytes([proof[at] ^ data.draw(st.integers(1, 255))])
    with pytest.raises(ApprovalRefused):
        Desk().takes(WORK._replace(proof=proof[:at] + changed + proof[at + 1 :]))


def test_work_without_a_proof_is_told_as_before() -> None:
    plain = WORK._replace(proof=None)
    assert len(plain.to_wire()) == 12  # what a node of the first version takes
    assert Work.from_wire(list(plain.to_wire())) == plain
    for wrong in ([*plain.to_wire(), "x"], [*WORK.to_wire(), b""]):
        with pytest.raises(ValueError, match="work item"):
            Work.from_wire(wrong)


WORK = Desk().approved(YES, YES)
