"""Whole nodes: who may revoke whom, what becomes of voters, what survives a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from node_lab import WALL_MS, NodeLab, in_lab, until

from agents.errors import NotRevoked
from agents.node import Node
from agents.revoking import Known, Wish, known_of, together, wish_of, words_of
from keys import (
    CertificateRevoked,
    Entry,
    EntryKind,
    Keystore,
    PeerId,
    Permission,
    Role,
    decode_id,
    encode_id,
)
from keys.auditing import AuditEntry, read_audit
from keys.issuing import Issued

DAY_MS = 86_400_000
A, B = PeerId("a" * 51 + "q"), PeerId("b" * 51 + "q")
SERIAL = bytes(range(16))
KNOWN = [
    Known(A, "ada", Role.SERVICE, ("*",), frozenset({SERIAL})),
    Known(B, "ben", Role.SERVICE, ("*",), frozenset()),
    Known(PeerId("c" * 51 + "q"), "ben", Role.SERVICE, ("*",), frozenset()),
]


# -- who is meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["ada", A, A[:6]])
def test_a_name_an_id_and_the_start_of_one_mean_the_key(word: str) -> None:
    wish = wish_of(word, KNOWN)
    assert (wish.kind, wish.ident, wish.whom) == (EntryKind.KEY, decode_id(A), KNOWN[0])


def test_a_serial_means_one_certificate_and_says_whose() -> None:
    wish = wish_of(SERIAL.hex(), KNOWN)
    assert (wish.kind, wish.ident, wish.whom) == (EntryKind.SERIAL, SERIAL, KNOWN[0])


def test_a_whole_id_is_taken_of_somebody_unknown() -> None:
    word = encode_id(bytes(32))
    assert wish_of(word, KNOWN).ident == bytes(32)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("ben", f"several are called so: {B}, "),
        ("zoe", "known: ada, ben"),
        (A[:5], "nobody of that name"),
        ("", "nobody of that name"),
    ],
)
def test_who_is_not_clear_is_not_revoked(word: str, why: str) -> None:
    with pytest.raises(NotRevoked, match=why):
        wish_of(word, KNOWN)


def test_every_certificate_of_a_key_is_one_member() -> None:
    given = [
        Issued(b"k" * 32, bytes([n]) * 16, "ada", role, ("*",), 1, 2, bytes(16), bytes(32))
        for n, role in enumerate((Role.SERVICE, Role.MANAGER))
    ]
    (known,) = together(known_of(given), known_of(given[:1]))
    assert known.serials == {bytes(16), bytes([1]) * 16}
    assert known.roles == Role.SERVICE | Role.MANAGER


@pytest.mark.parametrize(
    "fields",
    [None, [], [3, b"", 5, ""], [1, bytes(15), 0, ""], [2, bytes(32), -1, ""], [9, b"", 0, ""]],
)
def test_what_is_no_wish_is_none(fields: Any) -> None:
    assert Wish.from_wire(fields) is None


def test_a_wish_survives_the_wire() -> None:
    wish = Wish(EntryKind.KEY, bytes(32), 7, "why")
    assert Wish.from_wire(wish.to_wire()) == wish


# -- nodes -----------------------------------------------------------------------------------------


async def three(lab: NodeLab, role: Role = Role.SERVICE) -> tuple[Node, Node, Node]:
    first = await lab.up("first")
    second, third = await lab.up("second", roles=role), await lab.up("third")
    nodes = (first, second, third)
    await until(lambda: all(len(n.peer.presence.present()) == 2 for n in nodes))
    return nodes


def gone(node: Node, other: Node) -> bool:
    return node.peer.session_of(other.peer.peer_id) is None


def test_the_issuers_node_revokes_by_name_and_the_revoked_node_stops(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, third = await three(lab)
        said = await first.net.trust.revoke("third", reason="stolen")
        assert [each["number"] for each in said["by"]] == [1]
        await until(lambda: gone(first, third) and gone(second, third), 1)
        error = await asyncio.wait_for(third.until_failed(), 1)
        assert isinstance(error, CertificateRevoked)
        row = (await second.net.trust.revocations())["lists"][0]
        assert (row["signer"], row["number"], row["is_stale"]) == ("first-issuer", 1, False)
        assert "stolen" in str(row["entries"])

    in_lab(tmp_path, scenario)


def test_one_that_was_away_stops_when_it_is_back_and_its_log_says_why(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, third = await three(lab)
        host = {name: world.host for name, world in lab.worlds.items()}
        lab.network.cut([host["third"]], [host["first"], host["second"]])
        await asyncio.sleep(15)
        await first.net.trust.revoke("third", reason="stolen")
        lab.network.heal()
        error = await asyncio.wait_for(third.until_failed(), 60)
        assert isinstance(error, CertificateRevoked)
        assert gone(first, third)
        assert gone(second, third)

        def noted() -> list[str]:
            found = [e for e in read_audit(third.home / "audit") if isinstance(e, AuditEntry)]
            return [str(e.note.detail) for e in found if e.note.kind == "node.failed"]

        await until(noted)
        assert ["stolen" in each for each in noted()] == [True]

    in_lab(tmp_path, scenario)


def test_an_admin_revokes_through_the_issuer_and_a_service_may_not(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, third = await three(lab, Role.ADMIN)
        with pytest.raises(NotRevoked, match="CERT_REVOKE"):
            await third.net.trust.revoke("second")
        assert not gone(first, second)
        said = await second.net.trust.revoke("third")
        assert said["by"][0]["issuer"].startswith("first")
        await until(lambda: gone(first, third) and gone(second, third), 1)

    in_lab(tmp_path, scenario)


def test_a_manager_revokes_no_admin(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, third = await three(lab, Role.MANAGER)
        with pytest.raises(NotRevoked, match="only admins revoke admins"):
            await second.net.trust.revoke("first")
        await second.net.trust.revoke("third")
        await until(lambda: gone(first, third), 1)

    in_lab(tmp_path, scenario)


def test_a_revoked_voter_is_replaced_and_counted_no_more(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = [await lab.up(name) for name in ("n1", "n2", "n3", "n4")]
        await until(lambda: all(n.quorum.leader() for n in nodes))
        await until(lambda: len(nodes[0].quorum.electorate.voters) == 3)
        voter = next(n for n in nodes[1:] if nodes[0].quorum.is_voter(n.peer.peer_id))
        rest = [n for n in nodes if n is not voter]
        await nodes[0].net.trust.revoke(voter.peer.name)
        await until(lambda: all(gone(n, voter) for n in rest), 1)
        lab.crash(voter)

        def replaced() -> bool:
            voters = rest[0].quorum.electorate.voters
            return len(voters) == 3 and voter.peer.peer_id not in voters

        await until(replaced, 60)
        await rest[0].net.kv.put("still", 1)

    in_lab(tmp_path, scenario)


def test_a_restart_goes_on_refusing_and_the_revoked_home_does_not_come_up(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, third = await three(lab)
        await first.net.trust.revoke("third")
        await until(lambda: gone(second, third), 1)
        await until(lambda: len(third.peer.trusting.revocations) == 1, 1)
        for node in (second, third):
            again = Keystore.open(node.home)
            assert len(again.trust.revocations) == 1
        with pytest.raises(CertificateRevoked):
            Keystore.open(third.home).principal(WALL_MS)

    in_lab(tmp_path, scenario)


def test_an_issuer_whose_directory_was_restored_mends_the_conflict(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, third = await three(lab)
        issuer = first.keystore.issuer
        assert issuer is not None
        known = first.peer.trusting.revocations
        others = [
            issuer.revoke(
                known,
                [wish_of(encode_id(bytes([n]) * 32), []).entry(issuer.chain.leaf, WALL_MS)],
                WALL_MS,
            )
            for n in (1, 2)
        ]
        second.peer.trusting.take(others[0])
        await until(lambda: len(third.peer.trusting.revocations) == 1, 1)
        first.peer.notify(second.peer.peer_id, "trust.want", b"\x90")  # a word on the same lane
        third.peer.trusting.on_conflict(others[1])  # no issuer: nothing to mend here
        first.trusting._on_conflict(others[1])

        def mended() -> bool:
            heads = {n.peer.trusting.heads for n in (first, second, third)}
            (held,) = first.peer.trusting.revocations
            return len(heads) == 1 and len(held.list.entries) == 2 and held.list.sequence == 2

        await until(mended, 5)

    in_lab(tmp_path, scenario)


def test_an_issuer_makes_its_list_anew_every_day(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, _ = await three(lab)
        issuer = first.keystore.issuer
        assert issuer is not None
        first.trusting._make_anew()
        assert not len(first.peer.trusting.revocations), "nothing was ever revoked"
        listed = issuer.revoke(first.peer.trusting.revocations, [], WALL_MS - DAY_MS - 1)
        first.peer.trusting.take(listed)
        first.trusting._make_anew()
        first.trusting._make_anew()
        (held,) = first.peer.trusting.revocations
        assert held.list.sequence == 2
        await until(lambda: second.peer.trusting.heads == first.peer.trusting.heads, 1)
        finding = [f for f in await second.net.doctor() if f["topic"] == "revocations"]
        assert [f["level"] for f in finding] == ["ok"]

    in_lab(tmp_path, scenario)


def test_of_a_stale_list_the_doctor_says_so_and_changes_are_refused(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, second, _ = await three(lab)
        issuer = first.keystore.issuer
        assert issuer is not None
        listed = issuer.revoke(first.peer.trusting.revocations, [], WALL_MS - 8 * DAY_MS)
        second.peer.trusting.take(listed)
        (finding,) = [f for f in await second.net.doctor() if f["topic"] == "revocations"]
        assert finding["level"] == "problem"
        assert "revocation_freshness" in finding["advice"]
        admin = first.peer.principal
        assert admin.may(Permission.RAFT_ADMIN)
        assert not second.peer.trusting.freshness.seen(admin).may(Permission.RAFT_ADMIN)
        assert second.peer.trusting.freshness.seen(admin).may(Permission.CALL)

    in_lab(tmp_path, scenario)


def test_what_should_be_thought_of_before(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        first, *_ = await three(lab)
        await until(lambda: first.quorum.leader() is not None)
        assert "this node" in str((await first.net.trust.plan("first"))["warnings"])
        assert (await first.net.trust.plan("third"))["warnings"] == []
        assert (await first.net.trust.plan(None, WALL_MS))["warnings"]

    in_lab(tmp_path, scenario)


def test_an_entry_in_words_names_who_is_meant() -> None:
    entry = Entry(EntryKind.KEY, decode_id(A), 0, 1, 2)
    assert words_of(entry, {decode_id(A): "ada"}) == f"key {A} (ada)"
