"""The test vectors of keys/FORMAT.md, computed. `python tests/keys/keys_vectors.py` prints them.

After a change that is meant to change bytes, paste the output into FORMAT.md and read the diff.
"""

from __future__ import annotations

from pathlib import Path

from keys_lab import NOW_MS, Lab, key, lab, serial
from nacl import bindings
from revocation_lab import issuers_list, roots_list
from roots_lab import line_of, quorum, single

from keys import (
    Revocations,
    Role,
    Roster,
    Ticket,
    custodian_text,
    entry_of_all,
    entry_of_key,
    entry_of_serial,
    make_join_request,
    network_id_of,
    pack_list,
)
from keys.auditing.entry import START, AuditNote, link, sign_head
from keys.backups import BackupHead
from keys.canonical import encode
from keys.ceremonies import IssuerRequest, Paper
from keys.identity import fingerprint
from keys.join import encode_grant, mac_key_of
from keys.sealed import Cost, derive_key, seal
from keys.sealing import SealingSecret, SealingStatement, Stamp, Suite, direction_key, seal_message
from keys.tokens import Client, Scope
from keys.voters import VoterSet, VotersStatement

TRANSCRIPT = bytes(range(32))
SECRET = bytes(range(16))


def ticket() -> Ticket:
    return Ticket.make(
        network_id_of(key(1).public_key),
        b"ticket01",
        SECRET,
        NOW_MS // 1000 + 900,
        Role.SERVICE,
        [("192.0.2.1", 4747), ("fe80::1", 4747), ("alpha.local", 4747)],
    )


def request_of_issuer() -> IssuerRequest:
    network = network_id_of(key(1).public_key)
    return IssuerRequest.make(key(2), network, "alpha-issuer", Role.SERVICE, ["shop"], 30, NOW_MS)


def statement_of_voters() -> VotersStatement:
    names = [key(seed).peer_id for seed in (3, 4, 5)]
    network = network_id_of(key(1).public_key)
    who = VoterSet(0, "a1" * 16, 7, tuple(sorted(names[:2])), tuple(sorted(names[1:])))
    made = VotersStatement.make(network, who)
    return made.signed(key(3)).signed(key(4), lab().chain.encode())


def client() -> Client:
    scope, public = Scope.parse("call:math.*"), key(4).public_key
    return Client("web", public, scope, Role.SERVICE, ("shop",), bytes(range(8)), NOW_MS, "alpha")


def backup_of(made: Lab) -> bytes:
    """As the document has it, by hand: what is random there is fixed here."""
    cost, salt = Cost(1, 8 << 20), bytes(range(16))
    network, name = made.trust.network_id, made.top.network_name
    peer_id, node = made.peer.peer_id, made.leaf.name
    header = BackupHead(network, name, peer_id, node, NOW_MS, salt, cost, b"").encode()
    body = encode({1: 1, 2: [[["chain", made.chain.encode()], ["incarnation", b"7\n"]]]})
    content_key = derive_key("correct horse", salt, cost)
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(body, header, bytes(24), content_key)
    return encode([header, b"", box])


def vectors() -> dict[str, str]:
    made = lab()
    genesis = made.genesis(1)
    roster = Roster.make(made.issuer, genesis, [made.peer.peer_id], NOW_MS)
    request = make_join_request(ticket(), made.peer, "alpha", TRANSCRIPT, NOW_MS, nonce=bytes(16))
    sealed = seal(
        "identity",
        made.peer.export_secret(),
        "correct horse",
        cost=Cost(1, 8 << 20),
        salt=bytes(16),
        nonce=bytes(24),
    )
    detail: dict[str, str | int] = {"port": 4747, "why": "wrong_network"}
    refused = AuditNote("peer.refused", NOW_MS, 1000, "192.0.2.9", "", "refused", detail, times=3)
    entry = link(START, refused)
    theirs = issuers_list(
        made,
        entry_of_key(made.leaf.key_id, made.middle, NOW_MS, reason="stolen"),
        entry_of_serial(serial(3), made.middle, NOW_MS),
        entry_of_all(NOW_MS, made.middle, NOW_MS),
    )
    top = roots_list(
        made, entry_of_key(fingerprint(key(5).public_key), made.top, NOW_MS, before_ms=NOW_MS)
    )
    both = Revocations().taking(theirs).taking(top)
    several = quorum(2, 4, 5, 6)
    rotated = line_of([single(1), several])
    founded = line_of([several])
    assert several.authority.quorum is not None
    secret = SealingSecret(Suite.X25519, bytes([9]) * 32)
    statement = SealingStatement.make(made.peer, secret.suite, secret.public, 7, NOW_MS)
    message = seal_message(
        made.peer,
        [statement],
        "test",
        b"hello",
        Stamp(b"epoch-01", 1, NOW_MS),
        entropy=lambda length: bytes(range(length)),
    )
    session = direction_key(bytes(range(32)), made.peer.peer_id, key(2).peer_id)
    return {
        "public key of seed 03": made.peer.public_key.hex(),
        "fingerprint": fingerprint(made.peer.public_key).hex(),
        "peer id": made.peer.peer_id,
        "network id": made.trust.network_id,
        "signature of 'body' for 'test'": made.peer.sign("test", b"body").hex(),
        "root certificate": made.top.raw.hex(),
        "issuer certificate": made.middle.raw.hex(),
        "peer certificate": made.leaf.raw.hex(),
        "digest of the peer certificate": made.leaf.digest.hex(),
        "chain": made.chain.encode().hex(),
        "transport record": made.record().raw.hex(),
        "genesis": genesis.raw.hex(),
        "roster": roster.raw.hex(),
        "statement about the voters": statement_of_voters().encode().hex(),
        "ticket": ticket().export_secret(),
        "mac key of the ticket": mac_key_of(SECRET).hex(),
        "join request": request.hex(),
        "grant": encode_grant(made.chain, genesis).hex(),
        "secret file, open": seal("identity", made.peer.export_secret(), None).hex(),
        "secret file, sealed": sealed.hex(),
        "revocation list of the issuer": pack_list(theirs).hex(),
        "revocation list of the root": pack_list(top).hex(),
        "head of both lists": both.head.hex(),
        "long head of both lists": both.digest.hex(),
        "audit entry": entry.raw.hex(),
        "audit checkpoint": sign_head(made.peer, entry.head, NOW_MS).raw.hex(),
        "root quorum": several.authority.quorum.encode().hex(),
        "key of the root quorum": several.authority.public_key.hex(),
        "public key of seed 04, for people": custodian_text(key(4).public_key),
        "root certificate of the quorum": founded.line[0].raw.hex(),
        "genesis of the quorum": founded.genesis().raw.hex(),
        "root certificate of the successor": rotated.line[0].raw.hex(),
        "issuer request": request_of_issuer().raw.hex(),
        "paper": Paper.issuing(request_of_issuer(), (made.top,)).encode().hex(),
        "chain below the successor": rotated.chain.encode().hex(),
        "client of tokens": client().encode().hex(),
        "backup, passphrase correct horse": backup_of(made).hex(),
        "sealing statement": statement.raw.hex(),
        "sealed message": message.hex(),
        "direction key of a sealed stream": session.hex(),
    }


def written(path: Path) -> dict[str, str]:
    """The vectors that stand in a file, by name. A long value goes on in indented lines."""
    text = path.read_text().split("```vectors\n")[1].split("```")[0]
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("  "):
            found[name] += line.strip()
        elif line:
            name = line.rstrip(":")
            found[name] = ""
    return found


def printed() -> str:
    lines: list[str] = []
    for name, value in vectors().items():
        lines.append(f"{name}:")
        lines += [f"  {value[at : at + 96]}" for at in range(0, len(value), 96)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(printed())
