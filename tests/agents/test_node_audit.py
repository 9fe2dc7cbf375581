"""Whole nodes: each kind of entry appears where it happens, heads are kept, logs are read."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from random import Random

import pytest
from node_lab import WALL_MS, NodeLab, in_lab, until

from agents.auditing import AuditSettings
from agents.auditing_kinds import Kind
from agents.auditing_offline import open_noted
from agents.doctoring import examine
from agents.node import Node
from keys import AuditUnwritable, Keystore, PassphraseNeeded, PassphraseWrong, Role
from keys.auditing import (
    AuditEntry,
    AuditNote,
    AuditVerdict,
    Checkpoint,
    audit_files,
    decode_audit_entry,
    decode_checkpoint,
    read_audit,
    read_audit_file,
    verify_log,
)
from keys.policies import parse_policy
from p2p import Lane, PermissionDenied
from p2p.discovery import Address
from p2p.memory import MemoryNetwork, MemoryWorld

POLICY = """
version = 1
[[rule]]
name = "all"
effect = "allow"
who = ["*"]
actions = ["*"]
what = ["*"]
"""
ADMIN = Role.SERVICE | Role.ADMIN


def notes(home: Path, kind: Kind | None = None) -> list[AuditNote]:
    found = [one.note for one in read_audit(home / "audit") if isinstance(one, AuditEntry)]
    return [note for note in found if kind is None or note.kind == kind.value]


def judged(node: Node, *held: Checkpoint) -> AuditVerdict:
    directory = node.home / "audit"
    files = [(n, read_audit_file(directory, n)) for n in audit_files(directory)]
    return verify_log(files, node.keystore.identity.public_key, held)


async def noted(node: Node, kind: Kind, **wanted: str) -> AuditNote:
    """Wait until a note of this kind with these fields is on the disk."""

    def found() -> AuditNote | None:
        for note in notes(node.home, kind):
            fields = {"by": note.by, "subject": note.subject, "outcome": note.outcome}
            fields |= {name: str(value) for name, value in note.detail.items()}
            if all(fields.get(name) == value for name, value in wanted.items()):
                return note
        return None

    await until(found)
    note = found()
    assert note is not None
    return note


def test_what_a_network_begins_with_is_noted_by_each_node(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = [await lab.up(name) for name in "abc"]
        await until(lambda: lab.leader() is not None)
        leader = lab.leader()
        assert leader is not None
        for node in (a, b, c):
            await noted(node, Kind.NODE_STARTED, subject=node.peer.peer_id)
            voters = await noted(node, Kind.ROSTER_ADOPTED)
            await noted(node, Kind.LEADER_CHANGED, subject=leader.peer.peer_id)
            assert len(str(voters.detail["voters"]).split()) == 3
            for other in {a, b, c} - {node}:
                await noted(node, Kind.PEER_ADMITTED, subject=other.peer.peer_id, why="new")
        redeemed = await noted(a, Kind.TICKET_REDEEMED, subject=b.peer.peer_id, name="b")
        issued = await noted(a, Kind.CERTIFICATE_ISSUED, subject=b.peer.peer_id, roles="service")
        assert redeemed.detail["serial"] == issued.detail["serial"]
        await b.__aexit__(None, None, None)
        assert notes(b.home)[-1].kind == Kind.NODE_STOPPED.value
        for node in (a, b, c):
            if node is not b:
                await node.auditing.audit.flush()
            verdict = judged(node)
            assert verdict.problem is None
            assert verdict.unsigned == 0
        lab.nodes.pop("b")

    in_lab(tmp_path, scenario)


def test_a_stranger_at_the_door_is_noted_with_reason_and_address_and_counted(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        a = await lab.up("a")
        other = Keystore.create_network(tmp_path / "eve", "other", "eve", 1, now_ms=WALL_MS)
        door = Address(lab.worlds["a"].host, a.peer.ports["door"])
        world = MemoryWorld(lab.network, 99, multicast=False, seeds=(door,))
        async with Node(other, world, [], local_door=False) as eve:
            refused = await noted(a, Kind.PEER_REFUSED, outcome="refused")
            assert refused.by == world.host
            assert refused.detail["why"]
            assert refused.detail["where"] == "our door"
            await asyncio.sleep(300)
            assert eve.peer.gathering.counts
        found = notes(a.home, Kind.PEER_REFUSED)
        assert len(found) <= 2 * 6, "at most two a minute"

    in_lab(tmp_path, scenario, voters=1)


def test_who_asks_for_too_much_and_who_sends_garbage_is_noted(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a = await lab.up("a")
        b = await lab.up("b")
        await until(lambda: b.peer.presence.present() and a.quorum.leads)
        with pytest.raises(PermissionDenied):
            await b.auditing.reading.read(a.peer.peer_id, 1)
        denied = await noted(a, Kind.PERMISSION_DENIED, by=b.peer.peer_id, name="b")
        assert denied.subject == "use audit.read"
        for _ in range(16):
            b.peer._transport.send(a.peer.peer_id, Lane.DATA, b"\xc1", 1)
        await noted(a, Kind.PEER_EXPELLED, subject=b.peer.peer_id, why="it sends garbage")

    in_lab(tmp_path, scenario, voters=1)


def test_what_administrators_do_is_noted_where_it_is_said_and_where_it_is_done(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = [await lab.up(name, roles=ADMIN) for name in "abc"]
        await until(lambda: lab.leader() is not None)
        leader = lab.leader()
        assert leader is not None
        asked = next(node for node in nodes if node is not leader)
        await asked.gate.request("raft.transfer", {"peer": asked.peer.peer_id})
        await noted(asked, Kind.COMMAND_RUN, subject="raft.transfer", by="local", outcome="begun")
        await noted(asked, Kind.COMMAND_RUN, subject="raft.transfer", by="local", outcome="ok")
        wish = await noted(
            leader, Kind.VOTERS_ASKED, subject=asked.peer.peer_id, by=asked.peer.peer_id
        )
        assert wish.detail["method"] == "consensus.transfer"
        await noted(leader, Kind.LEADER_CHANGED, subject=asked.peer.peer_id)
        await until(lambda: lab.leader() is asked)
        other = next(node for node in nodes if node not in (leader, asked))
        await asked.gate.request("raft.remove", {"peer": other.peer.peer_id})
        for node in nodes:
            await noted(node, Kind.VOTERS_CHANGED, outgoing="")
        late = (await lab.up("d")).peer.peer_id
        await until(lambda: late in asked.peer.presence.present())
        with pytest.raises(Exception, match="neither votes"):
            await asked.gate.request("raft.remove", {"peer": late})
        await noted(asked, Kind.COMMAND_RUN, subject="raft.remove", outcome="failed")
        await noted(asked, Kind.VOTERS_ASKED, outcome="refused", why="it neither votes nor listens")

    in_lab(tmp_path, scenario)


def test_renewals_policies_and_failures_are_noted(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a = await lab.up("a")
        b = await lab.up("b")
        await until(lambda: b.peer.presence.present())
        await asyncio.sleep(3600)
        await b.renewing.renew()
        await noted(b, Kind.CERTIFICATE_RENEWED, subject=b.peer.peer_id, outcome="ok")
        await noted(a, Kind.CERTIFICATE_RENEWED, subject=b.peer.peer_id, outcome="granted")
        await b.peer.rotate_keys()
        await noted(b, Kind.KEY_ROTATED, subject="transport", missed="0")
        a.peer.guard.set_file(parse_policy(POLICY, "test"))
        policy = await noted(a, Kind.POLICY_CHANGED)
        assert len(str(policy.detail["file"])) == 64
        await a.net.trust.revoke("ab" * 16)
        await noted(b, Kind.CERTIFICATE_REVOKED, subject="a-issuer", list="1", entries="1")
        b._fatal(ValueError("the disk is gone"))
        await noted(b, Kind.NODE_FAILED, why="ValueError", said="the disk is gone")

    in_lab(tmp_path, scenario, voters=1)


def test_settings_that_changed_since_the_last_start_are_noted(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        keystore = Keystore.create_network(tmp_path / "x", "lab", "x", 1, now_ms=WALL_MS)
        for seed, port in enumerate(("1", "1", "2")):
            settings = AuditSettings(configuration={"port": port, "host": "127.0.0.1"})
            world = MemoryWorld(MemoryNetwork(Random(seed)), seed)
            async with Node(keystore, world, [], local_door=False, audit=settings):
                pass
        (changed,) = notes(keystore.home, Kind.CONFIG_CHANGED)
        assert changed.detail == {"port": "1 -> 2"}

    in_lab(tmp_path, scenario)


def test_a_key_that_will_not_open_is_noted_and_signed_later(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        home = tmp_path / "x"
        Keystore.create_network(home, "lab", "x", 1, passphrase="right", now_ms=WALL_MS)
        with pytest.raises(PassphraseWrong):
            open_noted(home, "a wrong passphrase")
        with pytest.raises(PassphraseNeeded):
            open_noted(home, None)
        world = MemoryWorld(lab.network, 1)
        async with Node(open_noted(home, "right"), world, [], local_door=False) as node:
            assert judged(node).unsigned == 0
        found = notes(home, Kind.UNLOCK_FAILED)
        assert [note.detail["why"] for note in found] == ["wrong passphrase", "no passphrase"]
        raw = b"".join(data.read_bytes() for data in (home / "audit").glob("*.audit"))
        assert b"a wrong" not in raw

    in_lab(tmp_path, scenario)


def test_two_others_hold_the_newest_head_and_survive_with_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = [await lab.up(name) for name in "abcd"]
        await until(lambda: all(len(n.peer.presence.present()) == 3 for n in nodes))
        await asyncio.sleep(5)
        for node in nodes:
            node.auditing.audit.note(Kind.COMMAND_RUN, "try")
            await node.auditing.audit.flush()
        await asyncio.sleep(3)
        for node in nodes:
            newest = node.auditing.audit.head
            assert newest is not None
            held = await node.auditing.heads.held_by_others()
            witnesses = [who for who, one in held if one == newest]
            assert sorted(witnesses) == sorted(node.auditing.heads.witnesses())
            assert len(witnesses) == 2
            for other in nodes:
                if other.peer.peer_id in witnesses:
                    path = other.home / "audit" / "heads" / f"{node.peer.peer_id}.head"
                    assert decode_checkpoint(path.read_bytes()) == newest
            assert judged(node, *(one for _, one in held)).compared == 2

    in_lab(tmp_path, scenario)


def test_a_log_that_was_cut_while_its_node_was_down_is_an_alarm_at_others(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b = await lab.up("a"), await lab.up("b")
        await until(lambda: a.peer.presence.present() and b.peer.presence.present())
        shutil.copytree(b.home / "audit", tmp_path / "older")
        await asyncio.sleep(2)
        for number in range(30):
            b.auditing.audit.note(Kind.COMMAND_RUN, str(number))
        await b.auditing.audit.flush()
        await asyncio.sleep(3)
        await b.__aexit__(None, None, None)
        shutil.rmtree(b.home / "audit")
        shutil.copytree(tmp_path / "older", b.home / "audit")
        again = MemoryWorld(lab.network, 77)
        b = Node(Keystore.open(b.home), again, [], local_door=False)
        lab.nodes["b"], lab.worlds["b"] = b, again
        await b.__aenter__()
        alarm = await noted(a, Kind.HEAD_BACK, subject=b.peer.peer_id, outcome="alarm")
        assert int(alarm.detail["was"]) > int(alarm.detail["sequence"])
        said = [f.said for f in examine(a) if f.topic == "audit" and f.level == "problem"]
        assert len(said) == 1
        assert "went back" in said[0]
        held = [one for _, one in await b.auditing.heads.held_by_others()]
        problem = judged(b, *held).problem
        assert problem is not None
        assert problem.fault == "truncated"

    in_lab(tmp_path, scenario, voters=1)


def test_an_administrator_reads_the_log_of_another_in_pages(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b = await lab.up("a"), await lab.up("b")
        await until(lambda: a.peer.presence.present() and b.peer.presence.present())
        for number in range(3000):
            b.auditing.audit.note(Kind.COMMAND_RUN, f"{number} " + "x" * 100)
        await b.auditing.audit.flush()
        read: list[AuditEntry] = []
        pages = 0
        while page := await a.net.audit.read("b", len(read) + 1):
            entries = [decode_audit_entry(raw) for raw in page if raw[:1] != b"\x92"]
            if not entries:
                break
            read += entries
            pages += 1
        assert pages > 1
        assert [entry.sequence for entry in read] == list(range(1, len(read) + 1))
        assert len(read) >= 3000
        for nonsense in (0, -1):
            with pytest.raises(Exception, match="names no entry"):
                await a.net.audit.read("b", nonsense)

    in_lab(tmp_path, scenario, voters=1)


def test_a_node_that_must_write_and_cannot_does_not_start(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        keystore = Keystore.create_network(tmp_path / "x", "lab", "x", 1, now_ms=WALL_MS)
        (tmp_path / "x" / "audit").write_text("in the way")
        world = MemoryWorld(lab.network, 1)
        required = AuditSettings("required")
        with pytest.raises(AuditUnwritable):
            async with Node(keystore, world, [], local_door=False, audit=required):
                pass
        world = MemoryWorld(lab.network, 2)
        async with Node(keystore, world, [], local_door=False) as node:
            (finding,) = [f for f in examine(node) if f.topic == "audit"]
            assert finding.level == "problem"

    in_lab(tmp_path, scenario)


def test_a_lie_about_a_head_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = [await lab.up(name) for name in "abc"]
        await until(lambda: len(c.peer.presence.present()) == 2)
        await asyncio.sleep(3)
        head = b.auditing.audit.head
        assert head is not None
        before = dict(a.auditing.heads.alarms)
        for payload in (b"", b"\x92\xc4\x00\xc4\x00", head.raw[:-1] + b"\0", head.raw):
            c.peer.notify(a.peer.peer_id, "audit.head", payload, lane=Lane.CONTROL)
        await until(lambda: a.peer.counts["bad_audit_head"] == 4)
        assert a.auditing.heads.alarms == before == {}

    in_lab(tmp_path, scenario)
