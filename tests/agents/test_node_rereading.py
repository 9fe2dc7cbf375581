"""What people do to the home of a node that is up, and news of roots over connections there are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until
from test_node_health import Patient, state_of
from test_node_roots import NEW, asked, rotation, seen, wall_ms

from agents.health import Health
from agents.node import Node
from agents.root_news import ROOTS
from keys import (
    Identity,
    Keystore,
    NotTheIssuer,
    PassphraseNeeded,
    PassphraseWrong,
    PeerId,
    encode_line,
)
from keys.auditing import AuditEntry, read_audit
from keys.ceremonies import install_issuer, read_key_file
from keys.safekeeping import change_passphrase
from p2p import encode_payload

WORDS = "quite some words"
OTHER = Identity.from_secret(bytes([78]) * 32)


def kinds(node: Node) -> list[str]:
    entries = read_audit(node.home / "audit")
    return [each.note.kind for each in entries if isinstance(each, AuditEntry)]


def introductions(node: Node) -> int:
    return node.peer.gathering.counts["admitted"]


async def three(lab: NodeLab) -> tuple[Node, Node, Node]:
    a, b, c = await lab.up("a"), await lab.up("b"), await lab.up("c")
    nodes = (a, b, c)
    await until(lambda: all(len(n.peer.presence.present()) == 2 for n in nodes))
    return nodes


def test_a_node_that_is_up_issues_as_soon_as_it_is_installed(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await three(lab)
        assert b.keystore.issuer is None
        paper = asked(b.keystore, wall_ms(lab)).drafted(wall_ms(lab), line=a.keystore.chain.roots)
        root = read_key_file(a.home / "root.key", "root", None)
        chain = paper.sign(root).issuer_chain(wall_ms(lab))
        install_issuer(Keystore.open(b.home), chain, wall_ms(lab), None)
        await until(lambda: b.keystore.issuer is not None, 6)
        await a.__aexit__(None, None, None)  # the only other issuer is away
        lab.nodes.pop("a")
        before = c.keystore.chain.leaf.serial
        await c.renewing.renew()
        assert c.keystore.chain.leaf.serial != before

        def shown() -> bool:
            session = b.peer.session_of(c.peer.peer_id)
            return session is not None and session.principal.serial != before

        await until(shown)
        said = await b.net.trust.revoke("c", reason="lost")
        assert said["by"]
        await until(lambda: b.peer.session_of(c.peer.peer_id) is None, 2)

    in_lab(tmp_path, scenario)


def test_a_sealed_key_waits_for_whoever_says_the_passphrase(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, _ = await three(lab)
        with pytest.raises(NotTheIssuer):
            await b.net.keys.open_issuer(None)
        paper = asked(b.keystore, wall_ms(lab)).drafted(wall_ms(lab), line=a.keystore.chain.roots)
        root = read_key_file(a.home / "root.key", "root", None)
        chain = paper.sign(root).issuer_chain(wall_ms(lab))
        change_passphrase(b.home, None, WORDS)  # as in a home that was sealed from the beginning
        install_issuer(Keystore.open(b.home, WORDS), chain, wall_ms(lab), WORDS)
        await until(lambda: "`conclave issuer open` asks for the passphrase" in caplog.text, 6)
        with pytest.raises(PassphraseNeeded):
            await b.net.keys.open_issuer(None)
        with pytest.raises(PassphraseWrong):
            await b.net.keys.open_issuer(WORDS[1:])
        assert b.keystore.issuer is None
        name = await b.net.keys.open_issuer(WORDS)
        assert b.keystore.issuer is not None
        assert b.keystore.issuer.chain.leaf.name == name
        warned = caplog.text.count("issuer open")
        await asyncio.sleep(10)
        assert caplog.text.count("issuer open") == warned, "and it does not ask again"
        await a.__aexit__(None, None, None)
        lab.nodes.pop("a")
        assert (await b.net.trust.revoke("c", reason="lost"))["by"], "it issues and takes back"
        await b.auditing.audit.flush()
        written = b"".join(path.read_bytes() for path in (b.home / "audit").glob("*.audit"))
        assert written.count(b"issuer.open") >= 4
        assert WORDS.encode()[1:] not in written
        assert WORDS[1:] not in caplog.text

    in_lab(tmp_path, scenario)


def test_a_root_that_one_home_was_taught_is_known_by_all_without_a_new_introduction(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        a, b, _ = nodes
        before = [introductions(node) for node in nodes]
        line = rotation(a, wall_ms(lab)).roots()
        taught = Keystore.open(b.home).trust.seen
        assert taught is not None
        taught.learn(line)
        await until(lambda: all(seen(node).number == 1 for node in nodes), 10)
        assert [introductions(node) for node in nodes] == before
        assert all((node.home / "roots").exists() for node in nodes)
        await until(lambda: all("root.learned" in kinds(node) for node in nodes))

    in_lab(tmp_path, scenario)


def test_who_says_that_there_is_another_root_and_cannot_show_it_is_asked_once(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await three(lab)
        seen(b).learn(rotation(a, wall_ms(lab)).roots())
        await until(lambda: seen(a).number == seen(c).number == 1, 10)
        c.rereading.roots.word = lambda: [2, b"12345678"]  # type: ignore[method-assign]
        await until(lambda: a.rereading.roots.counts["unproven"] > 0, 10)
        await asyncio.sleep(30)
        assert a.rereading.roots.counts["unproven"] == 1
        assert seen(a).number == 1
        assert seen(a).roots[0].public_key == NEW.public_key

    in_lab(tmp_path, scenario)


def test_another_successor_of_the_same_root_is_refused_loudly(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await three(lab)
        first, other = rotation(a, wall_ms(lab)), rotation(a, wall_ms(lab), OTHER)
        seen(b).learn(first.roots())
        await until(lambda: seen(a).number == seen(c).number == 1, 10)
        lie = encode_payload(encode_line(other.roots()))
        request = a.peer.request

        async def answered(to: PeerId, method: str, payload: bytes, **how: Any) -> bytes:
            return lie if method == ROOTS else await request(to, method, payload, **how)

        a.peer.request = answered  # type: ignore[method-assign]
        c.rereading.roots.word = lambda: [1, b"12345678"]  # type: ignore[method-assign]
        await until(lambda: a.rereading.roots.conflict is not None, 10)
        assert seen(a).roots[0].public_key == NEW.public_key

    in_lab(tmp_path, scenario)


def test_the_log_says_how_this_node_s_own_agents_are(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        patient = Patient("one")
        a = await lab.up("a", [patient.agent])
        b = await lab.up("b")
        await until(lambda: state_of(b, "one") is Health.HEALTHY)
        patient.word = "degraded"
        await until(lambda: state_of(b, "one") is Health.DEGRADED)
        await until(lambda: "agent.health" in kinds(a))
        assert "agent.health" not in kinds(b), "each node notes its own"

    in_lab(tmp_path, scenario)
