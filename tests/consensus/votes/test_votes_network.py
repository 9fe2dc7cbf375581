"""Whole votes among honest voters and liars: lost, doubled, late messages, and restarts anywhere.

Liars sign whatever they like, for anyone who asks. Two collectors gather the same question, as
after a proposer's crash, and each is shown another face. While at most f of n >= 4 lie, no two
certificates of one slot disagree; however many lie, whoever is accused did.
"""

import ast
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import CLUSTER, cast, check, electorate, people, proposal, signed

from consensus.votes import (
    Accusation,
    AskVoter,
    BallotReceived,
    CastRecord,
    Choice,
    Collector,
    Decided,
    Deliberate,
    EvidenceFound,
    MemoryBallotBox,
    Opened,
    Proposal,
    QuorumCertificate,
    SendBallot,
    Store,
    Tick,
    VotingCore,
    byzantine_faults,
    conflict,
    verify,
)

CHOICES = (Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN)
VOTES = Path(__file__).resolve().parents[3] / "consensus" / "votes"


class HonestVoter:
    """A core, its box, and a driver that dies between any two effects."""

    def __init__(self, number: int, count: int, rng: Random) -> None:
        self.number = number
        self.count = count
        self.rng = rng
        self.box = MemoryBallotBox()
        self.stores: list[CastRecord] = []
        self.restart()

    def restart(self) -> None:
        self.core = VotingCore(people(self.count)[self.number], check, CLUSTER, self.box.records())
        self.core.know(electorate(self.count))

    def asked(self, data: bytes, sender: str) -> list[SendBallot]:
        effects = self.core.on_proposal(data, sender)
        if effects and isinstance(effects[0], Deliberate):
            slot = effects[0].proposal.slot
            effects = self.core.on_choice(slot, self.rng.choice(CHOICES), self.rng.choice("ab"))
        sent = []
        for effect in effects:
            if self.rng.random() < 0.1:
                self.restart()
                break
            if isinstance(effect, Store):
                self.box.store(effect.record)
                self.stores.append(effect.record)
            elif isinstance(effect, SendBallot):
                sent.append(effect)
        self.core.check_invariants()
        return sent


class Liar:
    """Says what suits each asker, sometimes two things, sometimes about another question."""

    def __init__(self, number: int, rng: Random) -> None:
        self.number = number
        self.rng = rng

    def asked(self, asked: Proposal, sender: str, others: list[Proposal]) -> list[SendBallot]:
        about = asked if self.rng.random() < 0.9 else self.rng.choice(others)
        liked = CHOICES[0] if sender.endswith("0") else CHOICES[1]
        choices = [liked] if self.rng.random() < 0.8 else self.rng.sample(CHOICES, 2)
        return [SendBallot(sender, cast(about, self.number, c).to_bytes()) for c in choices]


class World:
    """One slot, two questions in it, two collectors of each."""

    def __init__(self, count: int, liars: int, seed: int) -> None:
        self.rng = Random(seed)
        self.count = count
        lying = set(self.rng.sample(range(count), liars))
        self.honest = {n: HonestVoter(n, count, self.rng) for n in range(count) if n not in lying}
        self.liars = {n: Liar(n, self.rng) for n in lying}
        self.questions = [proposal(count, question="One?"), proposal(count, question="Two?")]
        self.collectors = {
            f"{q}{face}": Collector(signed(question), check, ask_again_ms=1000)
            for q, question in enumerate(self.questions)
            for face in "01"
            if q == 0 or self.rng.random() < 0.3
        }
        self.decided: list[QuorumCertificate] = []
        self.accused: set[str] = set()
        self.number_of = {one.peer_id: n for n, one in enumerate(people(count))}

    def run(self) -> None:
        self.handle({name: c.step(Opened(), now_ms=0) for name, c in self.collectors.items()})
        for turn in range(1, 12):
            now = turn * 1000
            self.handle({n: c.step(Tick(), now_ms=now) for n, c in self.collectors.items()})

    def handle(self, effects_of: dict[str, list[object]]) -> None:  # type: ignore[type-arg]
        asks = [(name, e) for name, es in effects_of.items() for e in es if isinstance(e, AskVoter)]
        self.rng.shuffle(asks)
        for name, ask in asks:
            for _ in range(self.rng.choice([0, 1, 1, 1, 2])):  # lost, once, doubled
                for send in self.answers(name, ask):
                    self.deliver(send)

    def answers(self, name: str, ask: AskVoter) -> list[SendBallot]:
        number = self.number_of[ask.voter]
        if number in self.liars:
            asked = self.collectors[name].tally.proposal
            return self.liars[number].asked(asked, name, self.questions)
        return self.honest[number].asked(ask.data, name)

    def deliver(self, send: SendBallot) -> None:
        if self.rng.random() < 0.2:
            return
        collector = self.collectors[send.to]
        for effect in collector.step(BallotReceived("x", send.data), now_ms=0):
            if isinstance(effect, Decided):
                data = effect.certificate.to_bytes()
                verify(data, electorate(self.count), check)
                self.decided.append(QuorumCertificate.from_bytes(data))
            elif isinstance(effect, EvidenceFound):
                effect.evidence.verify(electorate(self.count), check)
                self.accused.add(effect.evidence.voter)
        collector.tally.check_invariants()

    def accusations(self) -> list[Accusation]:
        found = [conflict(*pair) for pair in combinations(self.decided, 2)]
        return [each for each in found if each is not None]

    def check(self) -> None:
        lying = {people(self.count)[n].peer_id for n in self.liars}
        assert self.accused <= lying
        for accusation in self.accusations():
            accusation.verify(electorate(self.count), check)
            assert set(accusation.culprits) <= lying
            assert accusation.is_more_than_a_third
        for voter in self.honest.values():
            assert len({record.ballot.body for record in voter.stores}) <= 1


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 7), st.integers(0, 2**32))
def test_while_few_enough_lie_no_two_certificates_of_a_slot_disagree(n: int, seed: int) -> None:
    world = World(n, byzantine_faults(n), seed)
    world.run()
    world.check()
    assert world.accusations() == []
    assert len({(c.proposal.digest, c.outcome) for c in world.decided}) <= 1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.data(), st.integers(0, 2**32))
def test_however_many_lie_nobody_honest_is_accused(n: int, data: st.DataObject, seed: int) -> None:
    world = World(n, data.draw(st.integers(0, n)), seed)
    world.run()
    world.check()


def test_these_worlds_do_decide_and_too_many_liars_do_contradict_themselves() -> None:
    """So that the two tests above cannot pass because nothing happens."""
    few, many = [World(4, 1, seed) for seed in range(40)], [World(4, 3, s) for s in range(40)]
    for world in few + many:
        world.run()
        world.check()
    assert sum(bool(world.decided) for world in few) > 5
    assert sum(bool(world.accusations()) for world in many) > 5


def test_one_seed_gives_one_history() -> None:
    ran = [World(5, 1, 7), World(5, 1, 7)]
    for world in ran:
        world.run()
    assert [c.digest for c in ran[0].decided] == [c.digest for c in ran[1].decided]


@pytest.mark.parametrize(
    "path", sorted(p for p in VOTES.glob("*.py") if p.stem not in {"ballot_box", "__init__"})
)
def test_only_the_ballot_box_touches_anything_outside(path: Path) -> None:
    allowed = {
        *("__future__", "base64", "binascii", "collections", "consensus", "dataclasses", "enum"),
        *("hashlib", "itertools", "json", "re", "typing"),
    }
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {name.partition(".")[0] for name in modules} <= allowed
    ours = {name for name in modules if name.startswith("consensus")}
    assert all(n == "consensus.errors" or n.startswith("consensus.votes") for n in ours)
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Constant) and type(node.value) is float)
        assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), "a fraction"
