"""Who is in a cluster: the rules one by one, and lives of random networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from agents.clusters.core import Candidate, ClusterCore, Fit
from agents.clusters.model import Need, Roster, check_roster
from keys import PeerId

NEED = Need("vision.detect", 3, 3)
SETTLED_MS = 60_000
LATER_MS = 60_000


def peers(**fits: object) -> dict[PeerId, Candidate]:
    """Candidates by their names; a fit alone, or with score, or with score and time up."""
    found = {}
    for name, said in fits.items():
        fit, score, up_ms = (said, 500, SETTLED_MS) if isinstance(said, Fit) else said  # type: ignore[misc]
        why = "" if fit is Fit.WELL else f"is {fit.name.lower()}"
        found[PeerId(name)] = Candidate(PeerId(name), name, fit, why, score, up_ms)
    return found


def roster(members: str, least: int = 3, most: int = 3) -> Roster:
    who = tuple(PeerId(name) for name in members)
    return Roster("vision.detect", least, most, who, 1, 1, "formed")


@dataclass
class Case:
    """One look at one cluster, and who is in it then; None: as before, "": it is dissolved."""

    what: str
    candidates: dict[PeerId, Candidate]
    before: Roster | None
    after: str | None
    leases: list[Need] = field(default_factory=lambda: [NEED])
    lead: str | None = None
    looks_ms: tuple[int, ...] = (LATER_MS,)


W, D, S, U = Fit.WELL, Fit.DEGRADED, Fit.SILENT, Fit.UNFIT
CASES = [
    Case(
        "a degraded one stays where the healthy one fills a gap",
        peers(a=W, b=D, d=W),
        roster("ab"),
        "abd",
        looks_ms=(0,),
    ),
    Case(
        "the larger user counts",
        peers(a=(W, 5, 0), b=(W, 5, 0), c=(W, 5, 0)),
        None,
        "abc",
        [Need("vision.detect", 2, 2), NEED],
    ),
    Case("nothing is wanted", peers(a=W), None, None, []),
    Case(
        "the best are taken", peers(a=(W, 1, 0), b=(W, 9, 0), c=(W, 5, 0), d=(W, 7, 0)), None, "bdc"
    ),
    Case("equal ones by their ids", peers(d=W, c=W, b=W, a=W), None, "abc"),
    Case("degraded ones last", peers(a=(D, 900, 0), b=W, c=W, d=W), None, "bcd"),
    Case("a degraded one where it takes all", peers(a=D, b=W, c=W), None, "bca"),
    Case("two are too few", peers(a=W, b=W, c=U), None, None),
    Case("silent ones do not come in", peers(a=W, b=W, c=S), None, None),
    Case("nobody needs it any more", peers(a=W, b=W, c=W), roster("abc"), "", []),
    Case("all is well", peers(a=W, b=W, c=W, d=(W, 999, SETTLED_MS)), roster("abc"), None),
    Case("a dead one is replaced", peers(a=W, b=U, c=W, d=W), roster("abc"), "acd"),
    Case("a dead one goes without one", peers(a=W, b=U, c=W), roster("abc"), "ac"),
    Case("one that nobody knows goes", peers(a=W, c=W), roster("abc"), "ac"),
    Case("all of them die", peers(a=U, b=U, c=U), roster("abc"), "-"),
    Case("a silent one stays", peers(a=W, b=S, c=W, d=W), roster("abc"), None),
    Case("it grows back", peers(a=W, c=W, d=W), roster("ac"), "acd"),
    Case("it grows back by a new one at once", peers(a=W, c=W, d=(W, 1, 0)), roster("ac"), "acd"),
    Case("degraded for a moment stays", peers(a=W, b=D, c=W, d=W), roster("abc"), None),
    Case(
        "degraded for long goes",
        peers(a=W, b=D, c=W, d=W),
        roster("abc"),
        "acd",
        looks_ms=(0, 10_000),
    ),
    Case(
        "not without a healthy one",
        peers(a=W, b=D, c=W, d=D),
        roster("abc"),
        None,
        looks_ms=(0, 10_000),
    ),
    Case(
        "one spare saves one of two",
        peers(a=D, b=D, c=W, d=W),
        roster("abc"),
        "bcd",
        looks_ms=(0, 10_000),
    ),
    Case(
        "up to the max by settled ones",
        peers(a=W, b=W, c=(W, 5, 9_999)),
        None,
        "ab",
        [Need("vision.detect", 1, 3)],
    ),
    Case("one at least at once", peers(a=(W, 5, 0)), None, "a", [Need("vision.detect", 1, 3)]),
    Case(
        "no degraded one beyond the min", peers(a=W, b=D), None, "a", [Need("vision.detect", 1, 3)]
    ),
    Case(
        "it grows to the max",
        peers(a=W, b=W, c=W),
        roster("a", 1, 3),
        "abc",
        [Need("vision.detect", 1, 3)],
    ),
    Case(
        "more is needed now",
        peers(a=W, b=W, c=W, d=W),
        roster("abc"),
        "abcd",
        [NEED, Need("vision.detect", 4, 4)],
    ),
    Case(
        "fewer are: the worst goes",
        peers(a=(W, 1, 9), b=(W, 9, 9), c=(W, 5, 9)),
        roster("abc"),
        "bc",
        [Need("vision.detect", 2, 2)],
    ),
    Case(
        "the leader goes last",
        peers(a=(W, 1, 9), b=(W, 9, 9), c=(W, 5, 9)),
        roster("abc"),
        "ab",
        [Need("vision.detect", 2, 2)],
        lead="a",
    ),
    Case(
        "only the numbers change",
        peers(a=W, b=W),
        roster("ab", 2, 2),
        "ab",
        [Need("vision.detect", 1, 2)],
    ),
    Case(
        "a lease on something else is none",
        peers(a=W, b=W, c=W),
        roster("abc"),
        "",
        [Need("x.y", 1, 1)],
    ),
    Case(
        "the smaller user is served",
        peers(a=W, b=W),
        None,
        "ab",
        [Need("vision.detect", 2, 2), Need("vision.detect", 5, 5)],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_what_is_due(case: Case) -> None:
    core = ClusterCore()
    lead = PeerId(case.lead) if case.lead else None
    change = None
    for at_ms in case.looks_ms:
        assert change is None, "only the last look decides"
        change = core.step("eyes", case.leases, case.before, lead, case.candidates, at_ms, 7)
    if case.after is None:
        assert change is None
    elif case.after == "":
        assert change is not None
        assert change.roster is None
    else:
        assert change is not None
        assert change.roster is not None
        assert "".join(change.roster.members) == case.after.replace("-", "")
        assert change.roster.changed_ms == 7
        assert change.roster.why
        check_roster(change.roster)


def test_whoever_goes_is_named_with_the_reason() -> None:
    found = peers(a=W, b=U, c=W, d=W)
    change = ClusterCore().step("eyes", [NEED], roster("abc"), None, found, 0, 0)
    assert change is not None
    assert change.roster is not None
    assert change.roster.why == "b goes: is unfit; d comes"


def test_one_that_gets_better_in_between_begins_anew() -> None:
    core = ClusterCore()
    bad, good = peers(a=W, b=D, c=W, d=W), peers(a=W, b=W, c=W, d=W)
    for at_ms, found in ((0, bad), (9_000, good), (9_500, bad), (15_000, bad)):
        assert core.step("eyes", [NEED], roster("abc"), None, found, at_ms, 0) is None
    assert core.step("eyes", [NEED], roster("abc"), None, bad, 19_500, 0) is not None


def test_a_degraded_one_has_a_gap_filled_before_it_is_replaced_itself() -> None:
    core, now = ClusterCore(), roster("abc")
    assert core.step("eyes", [NEED], now, None, peers(a=W, b=D, c=S), 0, 0) is None
    change = core.step("eyes", [NEED], now, None, peers(a=W, b=D, c=U, d=W), 20_000, 0)
    assert change is not None
    assert change.roster is not None
    assert "".join(change.roster.members) == "abd"


def test_one_that_was_out_meanwhile_is_degraded_from_then_on() -> None:
    core, found = ClusterCore(), peers(a=W, b=D, c=W, d=W)
    assert core.step("eyes", [NEED], roster("abc"), None, found, 0, 0) is None
    assert core.step("eyes", [NEED], roster("acd"), None, found, 5_000, 0) is None
    assert core.step("eyes", [NEED], roster("abc"), None, found, 11_000, 0) is None
    assert core.step("eyes", [NEED], roster("abc"), None, found, 21_000, 0) is not None


def test_what_is_remembered_goes_with_the_cluster() -> None:
    core = ClusterCore()
    for number in range(50):
        core.step(f"c{number}", [NEED], roster("abc"), None, peers(a=W, b=D, c=W), 0, 0)
    core.forget(["c1"])
    assert set(core._degraded_ms) == {"c1"}
    core.step("c1", [], roster("abc"), None, {}, 0, 0)
    assert not core._degraded_ms


def fate(rng: Random, candidate: Candidate | None, name: str) -> Candidate | None:
    """What becomes of a peer in a moment: mostly nothing."""
    if rng.random() < 0.85:
        return candidate
    fit = rng.choice([W, W, W, D, S, U])
    up_ms = rng.choice([0, 5_000, 60_000])
    if rng.random() < 0.1:
        return None
    return Candidate(PeerId(name), name, fit, f"is {fit.name}", rng.randrange(1001), up_ms)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_life_keeps_the_rules_and_comes_to_rest(seed: int) -> None:
    print("seed", seed)
    rng = Random(seed)
    core, now_ms = ClusterCore(), 0
    names = "abcdefgh"
    found: dict[PeerId, Candidate] = {}
    leases: list[Need] = []
    now: Roster | None = None
    for _ in range(150):
        now_ms += rng.choice([250, 1_000, 12_000])
        for name in names:
            after = fate(rng, found.get(PeerId(name)), name)
            found.pop(PeerId(name), None)
            if after is not None:
                found[PeerId(name)] = after
        if rng.random() < 0.1 or not leases:
            least = rng.randrange(1, 5)
            leases = rng.sample(
                [Need("vision.detect", least, least + rng.randrange(3))], 1
            ) * rng.randrange(3)
        before = now
        change = core.step("eyes", leases, now, None, found, now_ms, now_ms)
        if change is not None:
            now = change.roster
        judge(before, now, leases, found)
    for _ in range(4):  # and when nothing happens any more, nothing moves
        now_ms += 30_000
        change = core.step("eyes", leases, now, None, found, now_ms, now_ms)
        now = change.roster if change is not None else now
    assert core.step("eyes", leases, now, None, found, now_ms + 30_000, 0) is None


def judge(
    before: Roster | None,
    now: Roster | None,
    leases: list[Need],
    found: dict[PeerId, Candidate],
) -> None:
    if now is None:
        able = sum(c.fit <= D for c in found.values())
        assert not leases or able < min(need.min_size for need in leases)
        return
    assert leases, "nobody needs it"
    check_roster(now)
    was = before.members if before is not None else ()
    for peer in now.members:
        assert peer in found
        assert found[peer].fit is not U, "nobody is in it who cannot work"
        if peer not in was:
            assert found[peer].fit <= D, "nobody comes in who is silent"
    for peer in was:
        if peer in found and found[peer].fit is W and peer not in now.members:
            assert len(now.members) == now.max_size, "one that works goes only if they are too many"
    if now.is_short:
        outside = [p for p, c in found.items() if c.fit <= D and p not in now.members]
        assert not outside, "who fits is not left outside while they are too few"
