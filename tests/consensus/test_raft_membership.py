"""Who votes: memberships as values, and changing them (R22, R32)."""

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcript_lab import Lab

from consensus.errors import MembershipInvalid
from consensus.raft import ChangeConfig, Entry, EntryKind, Membership, Propose
from consensus.raft.memberships import Memberships

NAMES = "abcdefg"


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    """Any that can be: the step to some voters and learners, from some others."""
    before = draw(st.sets(st.sampled_from(NAMES), min_size=1))
    voters = draw(st.sets(st.sampled_from(NAMES), min_size=1))
    learners = draw(st.sets(st.sampled_from(NAMES))) - voters
    is_joint = draw(st.booleans()) and before != voters
    if not is_joint:
        return Membership(tuple(sorted(voters)), (), tuple(sorted(learners)))
    return Membership(tuple(sorted(before))).towards(voters, learners)


def majorities(group: tuple[str, ...]) -> list[set[str]]:
    """Every set of more than half of them."""
    sizes = range(len(group) // 2 + 1, len(group) + 1)
    return [set(some) for size in sizes for some in combinations(group, size)]


# -- memberships as values -------------------------------------------------------------------------


@given(memberships(), st.sets(st.sampled_from(NAMES)))
def test_a_quorum_holds_a_majority_of_each_group(membership: Membership, ids: set[str]) -> None:
    groups = [group for group in (membership.voters, membership.outgoing) if group]
    expected = all(any(some <= ids for some in majorities(group)) for group in groups)
    assert membership.has_quorum(ids) == expected


@given(memberships(), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5)))
def test_what_is_agreed_is_the_highest_that_a_quorum_has(
    membership: Membership, match: dict[str, int]
) -> None:
    agreed = max(
        index
        for index in range(7)
        if index == 0
        or membership.has_quorum([name for name in NAMES if match.get(name, 0) >= index])
    )
    assert membership.agreed(match) == agreed


@given(memberships(), st.data())
def test_every_quorum_meets_every_quorum_of_the_next_step(
    membership: Membership, data: st.DataObject
) -> None:
    step = membership.left() if membership.is_joint else None
    if step is None:
        voters = data.draw(st.sets(st.sampled_from(NAMES), min_size=1))
        if tuple(sorted(voters)) == membership.voters:
            return
        step = membership.towards(voters, ())
    ids = data.draw(st.sets(st.sampled_from(NAMES)))
    others = set(NAMES) - ids
    assert not (membership.has_quorum(ids) and step.has_quorum(others))


def test_nobody_is_no_quorum() -> None:
    assert not Membership().has_quorum(NAMES)
    assert Membership().agreed({"a": 7}) == 0


@given(memberships())
def test_a_membership_comes_back_from_its_bytes(membership: Membership) -> None:
    assert Membership.decode(membership.encode()) == membership


@given(
    st.one_of(
        st.binary(),
        st.lists(st.lists(st.one_of(st.text(max_size=3), st.integers())), max_size=6).map(
            lambda groups: json.dumps([1, *groups]).encode()
        ),
    )
)
def test_bytes_are_a_membership_that_checks_out_or_are_refused(data: bytes) -> None:
    try:
        membership = Membership.decode(data)
    except MembershipInvalid:
        return
    membership.check()
    assert Membership.decode(membership.encode()) == membership


@pytest.mark.parametrize(
    "membership",
    [
        Membership(),
        Membership(("b", "a")),
        Membership(("a", "a")),
        Membership(("",)),
        Membership(("a",), (), ("a",)),
        Membership(("a",), ("b",), ("b",)),
        Membership(("a",), ("b",), (), ("a",)),
        Membership(("a",), ("a", "b"), (), ("a",)),
        Membership(tuple(f"{number:03}" for number in range(65))),
        Membership(("\ud800",)),
    ],
)
def test_what_cannot_be_is_told(membership: Membership) -> None:
    with pytest.raises(MembershipInvalid):
        membership.check()


def test_a_change_of_voters_is_joint_and_a_demoted_one_stays_until_it_is_left() -> None:
    before = Membership(("a", "b", "c"), (), ("d", "e"))
    step = before.towards(("a", "d"), ("c", "e"))
    assert step == Membership(("a", "d"), ("a", "b", "c"), ("e",), ("c",))
    assert step.deciders == ("a", "b", "c", "d")
    assert step.left() == Membership(("a", "d"), (), ("c", "e"))
    with pytest.raises(MembershipInvalid, match="under way"):
        step.towards(("a",), ())


@given(memberships(), st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(NAMES)))
def test_each_step_is_valid_and_leads_to_what_was_wished(
    membership: Membership, voters: set[str], learners: set[str]
) -> None:
    try:
        step = membership.towards(voters, learners)
    except MembershipInvalid:
        return
    step.check()
    end = step.left() if step.is_joint else step
    end.check()
    assert (set(end.voters), set(end.learners)) == (voters, learners)
    assert step.is_joint == (end.voters != membership.voters)


# -- those that a log holds ------------------------------------------------------------------------


def change(index: int, *voters: str) -> Entry:
    return Entry(index, 1, EntryKind.MEMBERSHIP, Membership(voters).encode())


@given(st.lists(st.tuples(st.sampled_from("acx"), st.integers(1, 9)), max_size=30))
def test_the_one_in_force_is_the_last_that_is_committed(steps: list[tuple[str, int]]) -> None:
    """Against a model: a plain list of entries, scanned each time."""
    genesis = Membership(("a",))
    found, log, commit = Memberships(genesis, 0), list[Entry](), 0
    for action, number in steps:
        if action == "a":
            new = [
                change(index, NAMES[index % 7])
                if index % 2
                else Entry(index, 1, EntryKind.COMMAND, b"")
                for index in range(len(log) + 1, len(log) + number)
            ]
            log += new
            found.appended(new)
        elif action == "c" and commit < number <= len(log):
            before, commit = found.active_index, number
            assert found.committed(commit) == (found.active_index != before)
        elif action == "x" and commit < number <= len(log):
            del log[number - 1 :]
            found.truncated(number)
        changes = [entry for entry in log if entry.kind is EntryKind.MEMBERSHIP]
        due = [entry for entry in changes if entry.index <= commit]
        active = Membership.decode(due[-1].data) if due else genesis
        assert (found.active, found.active_index) == (active, due[-1].index if due else 0)
        assert found.has_pending == (len(changes) > len(due))
        named = [active, *(Membership.decode(entry.data) for entry in changes[len(due) :])]
        assert all(found.names(name) == any(name in one.members for one in named) for name in NAMES)
        found.check_invariants()


def test_a_snapshot_replaces_those_that_waited() -> None:
    found = Memberships(Membership(("a",)), 0)
    found.appended([change(3, "b"), change(5, "c")])
    found.reset(Membership(("d",)), 4)
    assert not found.committed(9)
    assert found.active == Membership(("d",))
    found.appended([change(4, "e"), change(6, "f")])
    assert found.committed(9), "4 is part of the snapshot, 6 is news"
    assert found.active == Membership(("f",))


# -- changing them ---------------------------------------------------------------------------------


def test_a_new_learner_of_an_idle_cluster_is_caught_up() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    lab.add("4")
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4",)))
    lab.run(500)
    assert lab["1"].status.match["4"] == lab["1"].status.last_index


def test_who_votes_now_is_known_after_a_restart_of_everybody_who_stays() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    for name in "45":
        lab.add(name)
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4", "5")))
    lab.run(1000)
    lab.step("1", ChangeConfig(2, ("1", "4", "5")))
    lab.run(1000)
    lab.step("1", Propose(3, [b"x"]))
    lab.run(100)
    for name in "23":  # they are not needed any more, so somebody turns them off
        lab[name].is_down = True
    for name in "145":
        lab.restart(name)
    lab.run(5000)
    assert [n for n in "145" if lab[n].status.leader == n]


def test_entries_that_fewer_voters_agree_on_are_committed_when_the_others_have_left() -> None:
    lab = Lab("1", "2")
    lab.elect("1")
    lab.step("1", ChangeConfig(1, ("1",)))
    lab.step("1", Propose(2, [b"x"]))
    lab.stabilize()
    assert lab["1"].status.voters == ("1",)
    assert lab["1"].status.commit == lab["1"].status.last_index


def test_a_change_whose_joint_membership_would_be_too_large_is_refused() -> None:
    voters = tuple(f"v{number:02}" for number in range(30))
    learners = tuple(f"w{number:02}" for number in range(35))
    lab = Lab(*voters)
    lab.elect("v00")
    lab.step("v00", ChangeConfig(1, voters[:-1], learners))
    assert "refused: such a membership is not possible" in lab.lines[-1]
