"""The vectors of FORMAT.md are what the code makes, and what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from keys_lab import NOW_MS, key
from keys_vectors import TRANSCRIPT, vectors, written

import keys
from keys import (
    Certificate,
    Chain,
    Genesis,
    RootQuorum,
    Roster,
    Ticket,
    Trust,
    accept_grant,
    decode_record,
    network_id_of,
    parse_custodian,
    verify,
    verify_line,
    verify_record,
)
from keys.backups import open_backup
from keys.ceremonies import IssuerRequest, Paper
from keys.identity import NetworkId
from keys.join import JoinRequest, mac_key_of
from keys.sealed import unseal
from keys.sealing import SealingSecret, SealingStatement, Suite, open_message
from keys.tokens import Client
from keys.voters import VotersStatement

FORMAT = Path(keys.__file__).with_name("FORMAT.md")
COMPUTED = vectors()
WRITTEN = written(FORMAT)


@pytest.mark.parametrize("name", COMPUTED)
def test_a_vector_is_what_the_code_makes(name: str) -> None:
    assert WRITTEN[name] == COMPUTED[name]


def test_no_vector_stands_in_the_document_alone() -> None:
    assert WRITTEN.keys() == COMPUTED.keys()


def test_the_written_bytes_are_read_and_believed() -> None:
    """From the document's text alone, as another program would read it."""
    raw = {
        name: bytes.fromhex(text)
        for name, text in WRITTEN.items()
        if name not in ("ticket", "peer id", "network id", "public key of seed 04, for people")
    }
    trust = Trust(NetworkId(WRITTEN["network id"]))
    principal = verify(Chain.decode(raw["chain"]), trust, NOW_MS)
    assert principal.peer_id == WRITTEN["peer id"]
    verify_record(decode_record(raw["transport record"]), principal, NOW_MS)
    genesis = Genesis.decode(raw["genesis"])
    genesis.verify(trust)
    roster = Roster.decode(raw["roster"])
    roster.verify(genesis)
    assert roster.voters == (principal.peer_id,)
    ticket = Ticket.parse(WRITTEN["ticket"])
    request = JoinRequest.decode(raw["join request"])
    assert request.proves_secret(mac_key_of(ticket.secret), TRANSCRIPT)
    assert request.is_signed(TRANSCRIPT)
    assert accept_grant(ticket, key(3), raw["grant"], NOW_MS).genesis == genesis
    assert str(Client.decode(raw["client of tokens"]).scope) == "call:math.*"
    opened = open_backup(raw["backup, passphrase correct horse"], passphrase="correct horse")
    assert opened.head.peer_id == principal.peer_id
    assert opened.files["chain"] == raw["chain"]
    statement = VotersStatement.decode(raw["statement about the voters"])
    assert statement.signers({principal.peer_id}) == {principal.peer_id}
    path = Path("identity.key")
    assert unseal(path, "identity", raw["secret file, open"], None) == bytes([3]) * 32
    sealed = raw["secret file, sealed"]
    assert unseal(path, "identity", sealed, "correct horse") == bytes([3]) * 32
    later = verify(Chain.decode(raw["chain below the successor"]), trust, NOW_MS)
    assert [each.raw for each in later.roots] == [
        raw["root certificate of the successor"],
        raw["root certificate"],
    ]
    quorum = RootQuorum.decode(raw["root quorum"])
    assert quorum.commitment == raw["key of the root quorum"]
    assert parse_custodian(WRITTEN["public key of seed 04, for people"]) in quorum.public_keys
    founded = Trust(network_id_of(quorum.commitment))
    verify_line((Certificate.decode(raw["root certificate of the quorum"]),), founded)
    Genesis.decode(raw["genesis of the quorum"]).verify(founded)
    paper = Paper.decode(raw["paper"])
    assert paper.request == IssuerRequest.decode(raw["issuer request"])
    assert Paper.parse(str(paper)).missing == "1 signature"
    statement = SealingStatement.decode(raw["sealing statement"])
    statement.verify(principal.peer_id, principal.public_key, NOW_MS)
    secret = SealingSecret(Suite.X25519, bytes([9]) * 32)
    assert statement.public == secret.public
    message = open_message(
        raw["sealed message"],
        statement.peer_id,
        "test",
        lambda number: secret if number == statement.number else None,
        lambda peer_id, chain: principal,
    )
    assert (message.sender, message.payload) == (principal.peer_id, b"hello")
