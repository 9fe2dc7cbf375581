"""Harnesses for what strangers show us first: papers and tickets; and files of keys."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from fuzz_lab import Harness
from nacl import bindings

from keys import (
    Certificate,
    CertificateRefused,
    Chain,
    Genesis,
    Identity,
    KeysError,
    RecordRefused,
    RevocationRefused,
    Role,
    Roster,
    Ticket,
    TransportRecord,
    Trust,
    canonical,
    decode_record,
    entry_of_all,
    entry_of_key,
    entry_of_serial,
    make_join_request,
    make_renewal_request,
    network_id_of,
    next_list,
    pack_list,
    read_list,
    read_own_list,
    sealed,
    verify,
    verify_record,
)
from keys.backups import archive
from keys.identity import decode_id, encode_id, fingerprint
from keys.issuing import issued_book, make_issuer, make_peer, make_root
from keys.issuing.issued_book import Issued
from keys.issuing.ticket_book import TicketBook, TicketNote, UsedMark
from keys.join import JoinRequest, accept_grant, encode_grant, mac_key_of
from keys.policies.file import parse_policy
from keys.renewal import RenewalRequest
from keys.revocation import RevocationList
from keys.revocations import NOTHING_REVOKED
from keys.safekeeping import load_passphrase
from keys.sealing import SealingSecret, Suite, hpke
from keys.sealing.suites import seal_for
from keys.voters import Confirmed, VoterSet, VotersStatement
from keys.voters.book import parse_voters_book, voters_book_bytes

NOW_MS = 1_700_000_000_000
PORTS = {"door": 4747, "control": 4748, "data": 4749, "topics": 4750}


@dataclass(frozen=True)
class Papers:
    """A network with fixed keys: root 1, issuer 2, peer 3."""

    root: Identity
    issuer: Identity
    peer: Identity
    chain: Chain
    record: TransportRecord
    genesis: Genesis
    roster: Roster
    ticket: Ticket

    @property
    def trust(self) -> Trust:
        return Trust(network_id_of(self.root.public_key))


def papers() -> Papers:
    root, issuer, peer = (Identity.from_secret(bytes([n]) * 32) for n in (1, 2, 3))
    top = make_root(root, "lan", NOW_MS, serial=b"1" * 16)
    middle = make_issuer(root, top, issuer.public_key, "issuer", NOW_MS, serial=b"2" * 16)
    roles = Role.SERVICE | Role.ADMIN
    leaf = make_peer(issuer, middle, peer.public_key, "alpha", roles, NOW_MS, serial=b"3" * 16)
    chain = Chain((leaf, middle, top))
    record = TransportRecord.make(
        peer,
        chain,
        sequence=7,
        curve_public=bytes(range(32)),
        hosts=["192.0.2.7", "fe80::7"],
        ports=PORTS,
        now_ms=NOW_MS,
    )
    genesis = Genesis.make(root, issuer.public_key, "lan", 3, NOW_MS)
    others = [Identity.from_secret(bytes([n]) * 32).peer_id for n in (4, 5)]
    roster = Roster.make(issuer, genesis, [peer.peer_id, *others], NOW_MS)
    addresses = [("192.0.2.1", 4747), ("fe80::1", 4747), ("alpha.local", 4747)]
    expires_s = NOW_MS // 1000 + 900
    ticket = Ticket.make(
        genesis.network_id, b"ticket01", bytes(range(16)), expires_s, Role.SERVICE, addresses
    )
    return Papers(root, issuer, peer, chain, record, genesis, roster, ticket)


P = papers()
REVOKED = next_list(
    P.issuer,
    Chain(P.chain.certificates[1:]),
    NOTHING_REVOKED,
    [
        entry_of_key(P.chain.leaf.key_id, P.chain.certificates[1], NOW_MS, reason="stolen"),
        entry_of_serial(P.chain.leaf.serial, P.chain.certificates[1], NOW_MS),
        entry_of_all(NOW_MS, P.chain.certificates[1], NOW_MS),
    ],
    NOW_MS,
)
VOTERS = VotersStatement.make(
    P.genesis.network_id,
    VoterSet(1, "a1" * 16, 7, (P.peer.peer_id,), tuple(sorted(P.roster.voters[1:]))),
).signed(P.peer, P.chain.encode())


def _voters(data: bytes) -> None:
    statement = VotersStatement.decode(data)
    known = VoterSet(0, "a1" * 16, 0, P.roster.voters)
    if statement.follows(known, P.trust, NOW_MS):
        assert statement.body == VOTERS.body, "nobody has signed this"
    if statement.body == VOTERS.body:
        statement.joined(VOTERS, statement.claimed())


REQUEST = make_join_request(P.ticket, P.peer, "alpha", bytes(32), NOW_MS, nonce=bytes(16))
SEALED = [
    sealed.seal("identity", bytes(32), None),
    sealed.seal(
        "identity",
        bytes(32),
        "correct horse",
        cost=sealed.Cost(1, 8 << 10),
        salt=bytes(16),
        nonce=bytes(24),
    ),
]
NETWORK = P.trust.network_id
_ISSUED = issued_book._encode(
    P.peer.public_key,
    [
        Issued(
            P.peer.public_key,
            bytes(16),
            "alpha",
            Role.SERVICE,
            ("shop", "shop.eu"),
            NOW_MS,
            NOW_MS + 1,
            bytes(16),
            bytes(32),
        )
    ],
)


def _believe(data: bytes) -> None:
    chain = Chain.decode(data)
    principal = verify(chain, P.trust, NOW_MS)
    verify_record(P.record, principal, NOW_MS)


def _unseal(data: bytes) -> None:
    path = Path("identity.key")
    header = sealed._read  # what a hostile file can demand is bounded there; deriving is not fuzzed
    try:
        header(data)
    except canonical.NotCanonical as error:
        raise sealed.SecretUnreadable(path, str(error)) from error


_BACKUP_HEAD = archive.BackupHead(
    P.genesis.network_id,
    "lan",
    P.peer.peer_id,
    "alpha",
    NOW_MS,
    b"",
    sealed.Cost(0, 0),
    hpke.public_of(bytes(range(32))),
)
_HEADER = _BACKUP_HEAD.encode()
_WRAPPED = seal_for(Suite.X25519, _BACKUP_HEAD.recipient, archive._INFO + _HEADER, bytes(32))
_BOX = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
    archive._pack({"chain": b"x"}), _HEADER + _WRAPPED, bytes(24), bytes(32)
)
BACKUP = canonical.encode([_HEADER, _WRAPPED, _BOX])
_RECIPIENT = SealingSecret(Suite.X25519, bytes(range(32)))


def _backup(data: bytes) -> None:
    archive.read_head(data)
    archive.open_backup(data, key=_RECIPIENT)  # what a passphrase costs is bounded, and not fuzzed


def _passphrase(data: bytes) -> None:
    path = _HOME / "passphrase"
    path.touch(mode=0o600)
    path.write_bytes(data)
    load_passphrase(path)


_KEPT = tempfile.TemporaryDirectory(prefix="fuzz-tickets-")
_HOME = Path(_KEPT.name)
_BOOK = TicketBook(_HOME / "tickets")
(_HOME / "tickets").mkdir(mode=0o700)
_NOTE = TicketNote(b"ticket01", mac_key_of(bytes(16)), NOW_MS, Role.SERVICE, ("shop",))
_BOOK.add(_NOTE)
_BOOK.claim(b"ticket01", UsedMark(bytes(32), "alpha", bytes(16), NOW_MS))
_PLACES = (_HOME / "tickets" / f"{b'ticket01'.hex()}.ticket",)
_MARK = _PLACES[0].with_suffix(".used")


def _note(data: bytes) -> None:
    _PLACES[0].write_bytes(data)
    _BOOK.find(b"ticket01")


def _mark(data: bytes) -> None:
    _MARK.write_bytes(data)
    _BOOK.used_by(b"ticket01")


_POLICY = b"""version = 1
[[rule]]
name = "one"
effect = "deny"
who = ["role:service", "name:alpha", "namespace:shop"]
actions = ["call"]
what = ["math.*", "*"]
"""

HARNESSES = [
    Harness(
        "canonical",
        lambda data: canonical.decode(data, 4096),
        [canonical.encode({1: [1, "a", b"b", {"k": 2**53}], 2: -5}), canonical.encode([b"x"] * 5)],
        (canonical.NotCanonical,),
        ("keys.canonical:decode",),
    ),
    Harness(
        "certificate",
        Certificate.decode,
        [each.raw for each in P.chain.certificates],
        (CertificateRefused,),
        ("keys.certificate:Certificate.decode",),
    ),
    Harness(
        "chain",
        _believe,
        [P.chain.encode()],
        (CertificateRefused, RecordRefused),
        ("keys.trust:Chain.decode",),
    ),
    Harness(
        "record", decode_record, [P.record.raw], (RecordRefused,), ("keys.record:decode_record",)
    ),
    Harness(
        "genesis", Genesis.decode, [P.genesis.raw], (KeysError,), ("keys.genesis:Genesis.decode",)
    ),
    Harness(
        "revocation list",
        RevocationList.decode,
        [REVOKED.list.raw],
        (RevocationRefused,),
        ("keys.revocation:RevocationList.decode",),
    ),
    Harness(
        "revocation list and chain",
        lambda data: (read_own_list(data, NOW_MS), read_list(data, P.trust, NOW_MS)),
        [pack_list(REVOKED)],
        (RevocationRefused,),
        ("keys.revoking:read_list", "keys.revoking:read_own_list"),
    ),
    Harness(
        "voters-statement",
        _voters,
        [VOTERS.encode()],
        (KeysError,),
        ("keys.voters.statement:VotersStatement.decode",),
    ),
    Harness(
        "voters-book",
        parse_voters_book,
        [voters_book_bytes([VOTERS])],
        (KeysError,),
        ("keys.voters.book:parse_voters_book",),
        mend=lambda data: fingerprint(data[32:]) + data[32:],
    ),
    Harness(
        "voters-confirmed",
        Confirmed.decode,
        [Confirmed(0, "a" * 32, 7, NOW_MS).encode()],
        (KeysError,),
        ("keys.voters.confirmed:Confirmed.decode",),
    ),
    Harness("roster", Roster.decode, [P.roster.raw], (KeysError,), ("keys.roster:Roster.decode",)),
    Harness(
        "ticket",
        lambda data: Ticket.parse(data.decode("utf-8", "replace")),
        [P.ticket.export_secret().encode()],
        (KeysError,),
        ("keys.ticket:Ticket.parse",),
        mend=lambda data: _checked_ticket(data),
        is_text=True,
    ),
    Harness(
        "peer-id",
        lambda data: decode_id(data.decode("utf-8", "replace")),
        [P.peer.peer_id.encode(), encode_id(bytes(32)).encode()],
        (KeysError,),
        ("keys.identity:decode_id",),
        is_text=True,
    ),
    Harness(
        "join-request",
        JoinRequest.decode,
        [REQUEST],
        (KeysError,),
        ("keys.join:JoinRequest.decode",),
    ),
    Harness(
        "renewal-request",
        RenewalRequest.decode,
        [make_renewal_request(P.peer, P.chain, NOW_MS, nonce=bytes(16))],
        (KeysError,),
        ("keys.renewal:RenewalRequest.decode",),
    ),
    Harness("issued-file", issued_book._decode, [_ISSUED], (canonical.NotCanonical,)),
    Harness(
        "grant",
        lambda data: accept_grant(P.ticket, P.peer, data, NOW_MS),
        [encode_grant(P.chain, P.genesis)],
        (KeysError,),
    ),
    Harness("secret-file", _unseal, SEALED, (KeysError,)),
    Harness(
        "backup",
        _backup,
        [BACKUP],
        (KeysError,),
        (
            "keys.backups.archive:read_head",
            "keys.backups.archive:BackupHead.decode",
        ),
    ),
    Harness(
        "backup-contents",
        archive._unpack,
        [archive._pack({"chain": b"x", "issued/" + "a" * 52: b"y"})],
        (KeysError,),
    ),
    Harness(
        "backup-public",
        lambda data: archive.parse_public(data.decode("utf-8", "replace")),
        [archive.public_text(bytes(range(32))).encode()],
        (KeysError,),
        ("keys.backups.archive:parse_public",),
        is_text=True,
    ),
    Harness(
        "passphrase-file",
        _passphrase,
        [b"correct horse\n"],
        (ValueError,),
        ("keys.safekeeping.passphrase_file:load_passphrase",),
    ),
    Harness("ticket-note", _note, [_PLACES[0].read_bytes()], (KeysError,)),
    Harness("ticket-mark", _mark, [_MARK.read_bytes()], (KeysError,)),
    Harness(
        "policy",
        lambda data: parse_policy(data.decode("utf-8", "replace")),
        [_POLICY],
        (KeysError,),
        ("keys.policies.file:parse_policy",),
        is_text=True,
    ),
]


def _checked_ticket(data: bytes) -> bytes:
    """Put a ticket's checksum right again."""
    import base64
    import hashlib

    try:
        raw = base64.urlsafe_b64decode(data[10:] + b"=" * (-len(data[10:]) % 4))
    except ValueError:
        return data
    body = raw[:-4]
    fresh = body + hashlib.blake2b(body, digest_size=4).digest()
    return b"conclave1-" + base64.urlsafe_b64encode(fresh).rstrip(b"=")
