"""A voter without a log: which one is new, and which one has forgotten its votes (R23)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents.blank import Begun, Heard, LogMissing
from agents.node import Node
from consensus.codec import encode_message
from consensus.raft import PreVote
from keys import Roster

LOG_ID, OTHER_ID = "1" * 32, "2" * 32


async def three(lab: NodeLab) -> dict[str, Node]:
    nodes = {name: await lab.up(name) for name in "abc"}
    await until(lambda: lab.leader() is not None)
    await until(lambda: all(node.quorum.replica is not None for node in nodes.values()))
    leader = lab.leader()
    assert leader is not None
    await until(lambda: len(heard_by(leader)) == 2)  # both have answered in the log
    return nodes


def heard_by(node: Node) -> list[str]:
    path = node.home / "heard"
    return [line.split(" ")[1] for line in path.read_text().splitlines()] if path.exists() else []


def wipe(node: Node, names: Iterable[str] = ("raft", "voter")) -> None:
    for name in names:
        path = node.home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def forget(node: Node, other: Node) -> None:
    """This one has never heard the other."""
    path, name = node.home / "heard", other.peer.peer_id
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    path.write_text("".join(line for line in lines if name not in line))


def again(lab: NodeLab, node: Node) -> Node:
    """The same home in a new process, not yet entered."""
    name = next(name for name, each in lab.nodes.items() if each is node)
    return Node(node.keystore, lab.worlds[name], (), local_door=False)


def test_a_first_voter_whose_log_and_mark_are_gone_does_not_begin_anew(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        await nodes["c"].__aexit__(None, None, None)
        wipe(nodes["c"])
        with pytest.raises(LogMissing, match="this first voter has had one before"):
            await again(lab, nodes["c"]).__aenter__()
        assert not (nodes["c"].home / "raft").exists(), "and nothing was written"

    in_lab(tmp_path, scenario)


def test_where_the_roster_is_gone_too_the_others_remember(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        leader = lab.leader()
        victim = next(nodes[name] for name in "bc" if nodes[name] is not leader)
        assert leader is not None
        assert victim.peer.peer_id in heard_by(leader)
        await victim.__aexit__(None, None, None)
        wipe(victim, ("raft", "voter", "roster", "heard"))
        async with again(lab, victim) as blank:
            await until(lambda: blank.failure is not None)
            assert isinstance(blank.failure, LogMissing)
            assert "has heard this voter in it" in str(blank.failure)
            assert blank.quorum.replica is None, "it has not said a word"

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("lost", [(), ("roster", "unbegun")])
def test_a_first_voter_that_nobody_has_heard_is_new_however_late_it_comes(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    async def nothing(roster: Roster) -> None:
        """It is killed before it begins its log."""

    async def scenario(lab: NodeLab) -> None:
        nodes = {name: await lab.up(name) for name in "abc"}
        late = nodes["c"]
        late.founding._on_roster = nothing
        await until(lambda: late.founding.has_roster)
        await until(lambda: any(nodes[name].quorum.leads for name in "ab"))
        assert late.quorum.replica is None
        await late.__aexit__(None, None, None)
        wipe(late, lost)
        async with again(lab, late) as new:
            await until(lambda: new.quorum.replica is not None)
            await until(lambda: new.quorum.leader() is not None)
            assert new.failure is None
            assert (new.home / "voter").exists()
            assert not (new.home / "unbegun").exists()

    in_lab(tmp_path, scenario)


def test_a_voter_that_came_later_is_known_as_one(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        nodes["d"] = await lab.up("d")
        await until(lambda: len(nodes["d"].peer.presence.present()) == 3)
        await nodes["a"].governing.add_voter(nodes["d"].peer.peer_id)
        await until(lambda: nodes["d"].quorum.is_voter(nodes["d"].peer.peer_id))
        await nodes["d"].__aexit__(None, None, None)
        wipe(nodes["d"])
        async with again(lab, nodes["d"]) as blank:
            await until(lambda: blank.failure is not None)
            assert isinstance(blank.failure, LogMissing)

    in_lab(tmp_path, scenario)


def test_a_founding_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    """Killed between the log and the mark that it has begun."""

    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        victim = nodes["c"]
        await victim.__aexit__(None, None, None)
        wipe(victim, ("voter",))
        async with again(lab, victim) as up:
            await until(lambda: up.quorum.leader() is not None)
            assert (up.home / "voter").exists()
            assert not (up.home / "unbegun").exists()

    in_lab(tmp_path, scenario)


def test_whoever_is_here_does_not_speak_for_the_one_that_is_away(tmp_path: Path) -> None:
    """One alone has heard it, and comes back late: the two others could have led without it."""

    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        leader = lab.leader()
        assert leader is not None
        victim = next(nodes[name] for name in "bc" if nodes[name] is not leader)
        other = next(node for node in nodes.values() if node not in (leader, victim))
        for node in (leader, victim):
            await node.__aexit__(None, None, None)
        await asyncio.sleep(1)  # what was on its way
        forget(other, victim)
        wipe(victim, ("raft", "voter", "roster", "heard"))
        async with again(lab, victim) as blank:
            await until(lambda: blank.quorum.unheard.awaited)
            await asyncio.sleep(30)
            assert blank.quorum.unheard.awaited == (leader.peer.peer_id,)
            assert blank.quorum.replica is None, "it has not said a word"
            assert blank.failure is None
            name = blank.peer.label(leader.peer.peer_id)
            assert f"{name} must say first" in blank.quorum.why_none()
            assert other.quorum.leader() is None
            async with again(lab, leader):
                await until(lambda: blank.failure is not None)
                assert isinstance(blank.failure, LogMissing)
                assert "has heard this voter in it" in str(blank.failure)
        with pytest.raises(LogMissing, match="has had one before"):
            await again(lab, victim).__aenter__()

    in_lab(tmp_path, scenario)


def test_a_voter_that_is_new_begins_once_the_last_one_has_said_so(tmp_path: Path) -> None:
    """Killed before its log was made; one of the others is away when it comes back."""

    async def nothing(roster: Roster) -> None:
        """It is killed before it begins its log."""

    async def scenario(lab: NodeLab) -> None:
        nodes = {name: await lab.up(name) for name in "abc"}
        late, away = nodes["c"], nodes["b"]
        late.founding._on_roster = nothing
        await until(lambda: late.founding.has_roster)
        await until(lambda: away.quorum.own_replica() is not None)
        for node in (late, away):
            await node.__aexit__(None, None, None)
        async with again(lab, late) as new:
            await until(lambda: new.quorum.unheard.awaited)
            await asyncio.sleep(5)
            assert new.quorum.unheard.awaited == (away.peer.peer_id,)
            assert new.quorum.replica is None
            async with again(lab, away):
                await until(lambda: new.quorum.replica is not None)
                await until(lambda: new.quorum.leader() is not None)
                assert new.failure is None
                assert not new.quorum.unheard.awaited

    in_lab(tmp_path, scenario)


def test_first_voters_that_never_meet_begin_by_the_word_of_the_founder(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = {name: await lab.up(name) for name in "ab"}
        one = lab.worlds["b"].host
        start, _, last = one.rpartition(".")
        other = f"{start}.{int(last) + 1}"
        lab.network.cut([one], [other])
        nodes["c"] = await lab.up("c")
        assert lab.worlds["c"].host == other
        await until(lambda: all(node.quorum.replica is not None for node in nodes.values()))
        assert not any(node.failure for node in nodes.values())
        assert nodes["c"].peer.session_of(nodes["b"].peer.peer_id) is None

    in_lab(tmp_path, scenario)


def test_who_spoke_is_remembered_for_its_log_and_before_it_is_heard(tmp_path: Path) -> None:
    heard = Heard(tmp_path, LOG_ID)
    assert not heard.knows(LOG_ID, "b")
    assert heard.note("b")
    assert heard.note("c")
    assert Heard(tmp_path, LOG_ID).knows(LOG_ID, "b")
    assert not heard.knows(OTHER_ID, "b"), "another log begins with nobody's word"
    after = Heard(tmp_path, OTHER_ID)
    assert not after.knows(OTHER_ID, "b")
    (tmp_path / "heard").write_text("garbage\n\n" + LOG_ID + "\n")
    assert not Heard(tmp_path, LOG_ID).knows(LOG_ID, "b")


def test_a_word_in_another_log_is_no_word_in_this(tmp_path: Path) -> None:
    """Who still follows the log before a disaster may join the one after it."""

    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        leader, stranger = lab.leader(), (await lab.up("d")).peer.peer_id
        assert leader is not None
        own = leader.peer.peer_id
        words = PreVote(sender=stranger, to=own, term=1, last_index=0, last_term=0)
        leader.quorum._on_message(stranger, encode_message(OTHER_ID, words))
        assert stranger not in heard_by(leader)
        this_id = leader.quorum.electorate.cluster.cluster_id
        leader.quorum._on_message(stranger, encode_message(this_id, words))
        assert stranger in heard_by(leader)
        assert nodes["a"].failure is None

    in_lab(tmp_path, scenario)


def test_what_cannot_be_written_down_is_not_heard(tmp_path: Path) -> None:
    heard = Heard(tmp_path / "home", LOG_ID)
    (tmp_path / "home").write_text("no directory")
    assert not heard.note("b")
    assert not heard.knows(LOG_ID, "b")


def test_the_marks_of_a_home_in_every_order_of_a_crash(tmp_path: Path) -> None:
    begun = Begun(tmp_path)
    assert begun.is_blank
    begun.expect(False)
    assert begun.is_expected  # killed here: the roster is not stored, or it is
    begun.path.parent.mkdir()
    begun.path.write_bytes(b"log")
    assert not begun.is_blank  # killed here: the log is there and has said nothing
    begun.begin()
    assert begun.is_begun
    assert not begun.is_expected
    begun.expect(False)
    assert not begun.is_expected, "a log that has begun is never expected again"
    begun.path.unlink()
    assert not begun.is_blank, "it had one"
