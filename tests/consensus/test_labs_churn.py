"""The labs of MIT's course 6.5840, part C: figure 8, unreliable networks, churn.

Each test bears the name of its lab; what happens when is drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from labs_cluster import ELECTION_MS, LONG_REORDERING, TRICKLE, UNRELIABLE, Lab
from mutant_table import planted

from consensus.sim import InvariantBroken
from consensus.sim.histories import Done

SEEDS = range(3)
STEP_MS = 20
TRICKLE_MS = 120_000  # some hundred entries, one after the other


@pytest.mark.parametrize("seed", SEEDS)
def test_figure_8(seed: int) -> None:
    """Leaders crash soon after they took a command, mostly before anybody heard of it: what is
    committed stays (paper 5.4.2, figure 8). The oracle compares."""
    lab = Lab(5, seed, **TRICKLE)
    lab.agree(1)
    for _ in range(1_000):
        leaders = [name for name in lab.names if lab.leads(name)]
        lab.propose_to_leaders()
        lab.run(lab.rng.randrange(ELECTION_MS // 2 if lab.rng.random() < 0.1 else 13))
        if leaders:
            lab.crash(leaders[-1])
        if len(lab.present) < 3:
            lab.restart(lab.rng.choice(lab.others(*lab.present)))
    lab.restart(*[name for name in lab.names if not lab.is_up(name)])
    print(f"{lab.term()} terms")
    assert lab.term() > 20, "there were few leaders"
    lab.agree(5, within_ms=TRICKLE_MS)


@pytest.mark.parametrize("seed", SEEDS)
def test_unreliable_agree(seed: int) -> None:
    """A network that loses, repeats and delays: commands are committed, several at a time."""
    lab = Lab(5, seed, **UNRELIABLE)
    proposed: list[int] = []
    for _ in range(49):
        leader = lab.leader()
        proposed += [lab.propose(leader) for _ in range(4)]
        lab.agree(1)
    lab.make_reliable()
    lab.agree(5)
    lab.wait("an end of each", lambda: all(lab.outcome(request) for request in proposed))
    done = [request for request in proposed if lab.is_done(request)]
    lab.expect_everywhere(done)
    assert len(done) > 150


@pytest.mark.parametrize("seed", SEEDS)
def test_figure_8_unreliable(seed: int) -> None:
    """Figure 8 by partitions instead of crashes, where messages arrive seconds late and twice."""
    lab = Lab(5, seed, **{**TRICKLE, **LONG_REORDERING})
    lab.agree(1)
    cut_off = 0
    for _ in range(2_000):
        leaders = [name for name in lab.present if lab.leads(name)]
        lab.propose_to_leaders()
        lab.run(lab.rng.randrange(ELECTION_MS // 2 if lab.rng.random() < 0.1 else 13))
        if leaders and lab.rng.random() < 0.5:
            lab.disconnect(leaders[-1])
            cut_off += 1
        if len(lab.present) < 3:
            lab.connect(lab.rng.choice(lab.others(*lab.present)))
    print(f"{lab.term()} terms, {cut_off} leaders cut off")
    assert cut_off > 12, "there were few leaders"
    lab.connect(*lab.names)
    lab.agree(5, within_ms=TRICKLE_MS)


@pytest.mark.parametrize("scenario", [test_figure_8, test_figure_8_unreliable])
def test_figure_8_is_what_it_says(scenario: Callable[[int], None]) -> None:
    """A leader that commits entries of earlier terms by counting copies is found out."""
    without = planted("R3 entries of earlier terms are committed by counting")
    with without, pytest.raises(InvariantBroken) as found:
        for seed in range(6):
            scenario(seed)
    assert found.value.number in (4, 5)


class Client:
    """Proposes one command after the other to all who believe to lead, and notes what was done."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._open: list[int] = []
        self.done: list[int] = []

    def act(self) -> None:
        """Look at what was asked; ask again when all of it has an outcome."""
        for request in list(self._open):
            outcome = self._lab.outcome(request)
            if outcome is not None:
                self._open.remove(request)
                if isinstance(outcome, Done):
                    self.done.append(request)
        if not self._open:
            leaders = [name for name in self._lab.names if self._lab.leads(name)]
            self._open = [self._lab.propose(name) for name in leaders]


def churn(lab: Lab) -> None:
    """Voters are cut off, connected, crashed and restarted while three clients are at work."""
    clients = [Client(lab) for _ in range(3)]
    lab.leader()
    for _ in range(20):
        one = lab.rng.choice(lab.names)
        if lab.rng.random() < 0.2:
            lab.disconnect(one)
        two = lab.rng.choice(lab.names)
        if lab.rng.random() < 0.5:
            if not lab.is_up(two):
                lab.restart(two)
            lab.connect(two)
        three = lab.rng.choice(lab.names)
        if lab.rng.random() < 0.2:
            lab.crash(three)
        for _ in range(ELECTION_MS * 7 // 10 // STEP_MS):
            for client in clients:
                client.act()
            lab.run(STEP_MS)
    lab.make_reliable()
    lab.restart(*[name for name in lab.names if not lab.is_up(name)])
    lab.connect(*lab.names)
    lab.agree(5)
    for client in clients:
        client.act()
        assert len(client.done) > 5
        lab.expect_everywhere(client.done)


@pytest.mark.parametrize("seed", SEEDS)
def test_reliable_churn(seed: int) -> None:
    """What a client was told is done is there at the end, on every voter."""
    churn(Lab(5, seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_unreliable_churn(seed: int) -> None:
    """The same where messages are lost, repeated and late."""
    churn(Lab(5, seed, **UNRELIABLE))
