"""Harnesses for what is kept: the log's messages and commands, ballots, snapshots, files."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
from fuzz_lab import Harness, as_payload
from fuzz_wire import ID, PEER, of_value

import consensus.ballots as ballots
import consensus.ballots.register_commands as register_commands
import consensus.kv as kv
from agents.cluster import Cluster, ClusterDamaged
from agents.electorate import Electorate
from agents.ledger import (
    Assignment,
    Completion,
    ErrorText,
    Failure,
    Kind,
    LeaseRef,
    Ledger,
    LedgerSnapshotInvalid,
    PeerEnd,
    Release,
    Renewal,
    TaskSpec,
    TaskView,
    Token,
    Work,
    encode,
)
from agents.ledger import parsing as ledger_parsing
from agents.tasking.voted import VoteWish
from consensus import MembershipInvalid, MessageRefused, SnapshotInvalid
from consensus.ballots.blocking import Blocking
from consensus.ballots.proposal import Elector
from consensus.codec import decode_message, decode_meta, encode_message, encode_meta
from consensus.kv import snapshot_rows as kv_rows
from consensus.machine import Replica
from consensus.node.peers import parse_address
from consensus.raft import (
    AppendEntries,
    Config,
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    Membership,
    Recovered,
    RequestVote,
    RequestVoteReply,
    SnapshotMeta,
)
from consensus.snapshot_wire import (
    PartStatus,
    SnapshotPart,
    SnapshotPartReply,
    decode_snapshot_frame,
    encode_snapshot_frame,
)
from consensus.storage.snapshot_format import Checker, Damaged, file_pieces
from keys import Identity, PeerId, peer_id_of, verify_signature
from p2p import PayloadError, decode_payload

A, B = PeerId("a"), PeerId("b")
_MEMBERS = Membership(("a", "b", "c"), ("a", "b", "d"), ("e",), ("d",))
_META = SnapshotMeta(40, 3, _MEMBERS, 12)
_ENTRIES = (
    Entry(8, 3, EntryKind.COMMAND, b"put"),
    Entry(9, 3, EntryKind.MEMBERSHIP, _MEMBERS.encode()),
)
_RAFT = [
    encode_message("lan", message)
    for message in (
        RequestVote(A, B, 3, 7, 2, True, 1),
        RequestVoteReply(A, B, 3, True, 5, 2),
        AppendEntries(A, B, 3, 7, 2, 6, _ENTRIES, 1),
        Heartbeat(A, B, 3, 6, 1, 9, 6, 1000),
        InstallSnapshot(A, B, 3, _META, 1),
    )
]
_PARTS = [
    encode_snapshot_frame("lan", SnapshotPart(A, B, 3, 5, _META, 100, 10, b"x" * 20)),
    encode_snapshot_frame("lan", SnapshotPartReply(A, B, 5, 30, PartStatus.GO_ON)),
]


def _checksum(data: bytes) -> bytes:
    body = data[:-4]
    return body + struct.pack(">I", zlib.crc32(body))


def _membership(data: bytes) -> None:
    Membership.decode(data)
    Electorate().learn_from_wire([1, "0" * 32, 5, data])


def _learn(value: Any) -> None:
    Electorate().learn_from_wire(value, Cluster(1, "0" * 32))


# -- snapshots of the machines: records, and a digest of them at the end -------------------------


def _digested(data: bytes) -> bytes:
    """Whose digest fits again."""
    body = data[:-34]
    return body + as_payload(hashlib.blake2b(body, digest_size=32).digest())


def records_of(chunks: Iterable[bytes]) -> bytes:
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(b"".join(chunks)[:-34])
    return as_payload(list(unpacker))


def of_records(restore: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Mutations are of the records, and the digest always fits."""

    def decode(data: bytes) -> None:
        value = decode_payload(data)
        if isinstance(value, list):
            restore(_digested(b"".join(map(as_payload, value)) + bytes(34)))

    return decode


# -- the store ----------------------------------------------------------------------------------

_SESSION = kv.SessionRef(kv.ClientId("client"), 1, 1, 0)
_KV = [
    kv.encode_register(kv.ClientId("client"), 10_000),
    kv.encode_put("key", b"value", ttl_ms=5000, session=_SESSION),
    kv.encode_put("other", b"value"),
    kv.encode_acquire("lock", "me", 5000),
    kv.encode_renew("lock", 4, 5000),
    kv.encode_compare_set("key", 2, b"new"),
    kv.encode_batch([kv.put("a", b"1"), kv.delete("b")]),
    kv.encode_expire([kv.Expiry(kv.What.KEY, "key", 2)]),
    kv.encode_delete("other"),
    kv.encode_release("lock", 4),
    kv.encode_keep_alive(kv.ClientId("client"), 1),
]


def _kv_command(data: bytes) -> None:
    store = kv.KvStore()
    for number, command in enumerate((_KV[0], _KV[1], _KV[3], data, data), 1):
        store.apply(number, 1000 * number, command)
    store.check_invariants()


def _kv_store() -> kv.KvStore:
    store = kv.KvStore()
    for number, command in enumerate(_KV[:7], 1):
        store.apply(number, 1000 * number, command)
    return store


def _kv_snapshot(data: bytes) -> None:
    store = kv.KvStore()
    store.restore([data])
    store.check_invariants()


# -- the ledger ---------------------------------------------------------------------------------

_TASK = Assignment(ID, PeerId(PEER), "reader", 1)  # type: ignore[arg-type]
_SPEC = TaskSpec(ID, "ocr", b"page", PeerId(PEER), job="job", key="k")  # type: ignore[arg-type]
_REF = LeaseRef(ID, Token(2))  # type: ignore[arg-type]
_FAILURE = Failure(_REF.task_id, Token(2), A, ErrorText("E", "m", "t"), True)
_ITEMS: dict[Kind, Any] = {
    Kind.SUBMITTED: _SPEC,
    Kind.ASSIGNED: _TASK,
    Kind.RENEWED: Renewal(PeerId(PEER), 1, (_REF,)),
    Kind.COMPLETED: Completion(_REF.task_id, Token(2), PeerId(PEER), b"text"),
    Kind.FAILED: _FAILURE,
    Kind.LEASES_ENDED: PeerEnd(PeerId(PEER), 1, "died"),
    Kind.EXPIRED: _REF,
    Kind.RELEASED: Release(_REF.task_id, Token(2), PeerId(PEER), "draining"),
    Kind.CANCELLED: ID,
    Kind.RETRIED: ID,
    Kind.FORGOTTEN: ID,
}
_LEDGER = [encode(kind, 1000, [item]) for kind, item in _ITEMS.items()]


def _ledger_command(data: bytes) -> None:
    ledger = Ledger()
    for number, command in enumerate((_LEDGER[0], _LEDGER[1], data, data), 1):
        ledger.apply(number, command)
    ledger.check_invariants()


def _ledger() -> Ledger:
    ledger = Ledger()
    for number, command in enumerate((_LEDGER[0], _LEDGER[1]), 1):
        ledger.apply(number, command)
    return ledger


def _ledger_snapshot(data: bytes) -> None:
    ledger = Ledger()
    ledger.restore([data])
    ledger.check_invariants()


def _view(value: Any) -> None:
    with contextlib.suppress(ValueError):
        TaskView.from_wire(value)


def _work(value: Any) -> None:
    with contextlib.suppress(ValueError):
        Work.from_wire(value)


_ONE = _ledger()
_VIEW = _ONE.get(_REF.task_id)
assert _VIEW is not None
_WORK = _ONE.work(_REF, 1000)
assert _WORK is not None

# -- ballots ------------------------------------------------------------------------------------

SCHEME = ballots.Scheme(verify=verify_signature, peer_id_of=peer_id_of)
VOTERS = [Identity.from_secret(hashlib.sha256(b"voter %d" % n).digest()) for n in range(4)]


def proposal_of(vetoer: bool = True) -> ballots.Proposal:
    return ballots.Proposal.make(
        proposal_id="7" * 32,
        cluster_id="lan",
        epoch=7,
        electors=[
            Elector(each.peer_id, each.public_key, 2 - n // 3, vetoer and n == 0, f"voter {n}")
            for n, each in enumerate(VOTERS)
        ],
        question="Shall the new build go out?",
        subject=b"\0subject",
        kind="release",
        deadline_ms=60_000,
        proposer=VOTERS[0].peer_id,
    )


PROPOSAL = proposal_of()


def ballot_of(number: int, choice: ballots.Choice, reason: str = "") -> ballots.Ballot:
    return ballots.Ballot.sign(VOTERS[number], PROPOSAL, choice, reason)


def certificate_of(*choices: ballots.Choice, liar: bool = False) -> ballots.QuorumCertificate:
    tally = ballots.Tally(PROPOSAL)
    for said in (ballots.Choice.ABSTAIN, ballots.Choice.REJECT) if liar else ():
        tally.add(ballot_of(3, said).check(PROPOSAL, SCHEME))
    for number, choice in enumerate(choices):
        tally.add(ballot_of(number, choice, "because").check(PROPOSAL, SCHEME))
    certificate = ballots.QuorumCertificate.of(tally)
    assert certificate is not None
    return certificate


_YES, _NO, _VETO = ballots.Choice.APPROVE, ballots.Choice.REJECT, ballots.Choice.VETO
CERTIFICATES = [
    certificate_of(_YES, _YES, _YES).to_bytes(),
    certificate_of(_NO, _NO, _NO).to_bytes(),
    certificate_of(_VETO).to_bytes(),
    certificate_of(_YES, _YES, _YES, liar=True).to_bytes(),
]
_EVIDENCE = ballots.Evidence.of(ballot_of(1, _YES), ballot_of(1, _NO)).encode()


def _blocking_of() -> bytes:
    tally = ballots.Tally(PROPOSAL)
    for number in (1, 2):
        tally.add(ballot_of(number, ballots.Choice.ABSTAIN).check(PROPOSAL, SCHEME))
    blocking = Blocking.of(tally)
    assert blocking is not None
    return blocking.to_bytes()


BLOCKING = _blocking_of()


_COMMANDS = [
    register_commands.opened(PROPOSAL),
    register_commands.closed(CERTIFICATES[0]),
    register_commands.expired(PROPOSAL.proposal_id, 0),
    register_commands.evidence(ballots.Evidence.decode(_EVIDENCE)),
    register_commands.forgotten([PROPOSAL.proposal_id]),
    register_commands.blocked(_blocking_of()),
]


def _blocking(data: bytes) -> None:
    Blocking.from_bytes(data).check(PROPOSAL, SCHEME)


def _register(data: bytes) -> None:
    register = ballots.Register("lan", SCHEME)
    for number, command in enumerate((_COMMANDS[0], data, data), 10):
        register.apply(number, 1000 * number, command)
    register.check_invariants()


def _register_snapshot() -> list[bytes]:
    register = ballots.Register("lan", SCHEME)
    for number, command in enumerate((_COMMANDS[0], _COMMANDS[3], _COMMANDS[1]), 10):
        register.apply(number, 1000 * number, command)
    other = ballots.Register("lan", SCHEME)
    other.apply(10, 1000, _COMMANDS[0])
    return [as_payload(list(each.snapshot())) for each in (register, other)]


def _restore_register(value: Any) -> None:
    if isinstance(value, list) and all(isinstance(each, bytes) for each in value):
        register = ballots.Register("lan", SCHEME)
        register.restore(value)
        register.check_invariants()


def _evidence(data: bytes) -> None:
    ballots.Evidence.decode(data).check(SCHEME)


# -- snapshot files -----------------------------------------------------------------------------


def _snapshot_file(data: bytes) -> None:
    checker = Checker()
    for start in range(0, len(data), 50):
        checker.feed(data[start : start + 50])
    checker.finish()


_FILE = b"".join(file_pieces("lan", _META, [b"body" * 30]))


def _rehashed(data: bytes) -> bytes:
    body = data[:-32]
    return body + hashlib.blake2b(body, digest_size=32).digest()


class _Machine:
    def apply(self, entries: Any) -> Any:
        return [None for _ in entries]

    def snapshot(self) -> Any:
        return iter([b"one", b"two"])

    def restore(self, chunks: Any) -> None:
        for _ in chunks:
            pass


def _replica() -> Replica:
    config = Config("a", "lan")
    return Replica(_Machine(), config, Recovered(), snapshot_entries=5, max_bytes=1000)


_COUNTERS = struct.pack(">BQQ", 1, 5, 6)
_BODY = len(_COUNTERS).to_bytes(4, "big") + _COUNTERS + b"\0\0\0\x03one\0\0\0\x03two"


def _body(data: bytes) -> None:
    _replica().restore(_META, [data[start : start + 9] for start in range(0, len(data), 9)])


# -- files --------------------------------------------------------------------------------------

_KEPT = tempfile.TemporaryDirectory(prefix="fuzz-raft-")
_HOME = Path(_KEPT.name)
(_HOME / "raft").mkdir(mode=0o700)
_CLUSTER = Cluster(1, "0" * 32)
_CLUSTER.save(_HOME)
_FOLLOWED = next((_HOME / "raft").iterdir())
_CLUSTER_SEED = _FOLLOWED.read_bytes()


def _cluster(data: bytes) -> None:
    _FOLLOWED.write_bytes(data)
    Cluster.load(_HOME)


HARNESSES = [
    Harness(
        "raft-message",
        lambda data: decode_message("lan", data, sender="a", recipient="b"),
        _RAFT,
        (MessageRefused,),
        ("consensus.codec:decode_message",),
        mend=_checksum,
    ),
    Harness(
        "snapshot-part",
        lambda data: decode_snapshot_frame("lan", data, sender="a", recipient="b"),
        _PARTS,
        (MessageRefused,),
        ("consensus.snapshot_wire:decode_snapshot_frame",),
        mend=_checksum,
    ),
    Harness(
        "snapshot-meta",
        decode_meta,
        [encode_meta(_META)],
        (MessageRefused,),
        ("consensus.codec:decode_meta",),
    ),
    Harness(
        "membership",
        _membership,
        [_MEMBERS.encode(), b'[1,["a"],[],[],[]]'],
        (MembershipInvalid,),
        ("consensus.raft.membership:Membership.decode",),
        is_text=True,
    ),
    Harness(
        "electorate",
        of_value(_learn),
        [as_payload([2, "1" * 32, 5, _MEMBERS.encode()])],
        (PayloadError,),
        ("agents.electorate:Electorate.learn_from_wire",),
    ),
    Harness("kv-command", _kv_command, _KV, (), ("consensus.kv.commands:decode",)),
    Harness(
        "kv-rows",
        of_value(
            *(
                lambda value, parse=parse: parse(value, 50) if isinstance(value, list) else None
                for parse in (
                    kv_rows.parse_entry,
                    kv_rows.parse_lock,
                    kv_rows.parse_free,
                    kv_rows.parse_session,
                )
            )
        ),
        [
            as_payload(["key", b"v", 5, 3, 1000]),
            as_payload(["lock", 5, "me", 1000, "client"]),
            as_payload(["lock", 5]),
            as_payload(["client", 1, 10_000, 20_000, 5, 1, [[2, 5, [[None, 1, 2, 3]]]]]),
        ],
        (PayloadError,),
        tuple(
            f"consensus.kv.snapshot_rows:parse_{x}" for x in ("entry", "lock", "free", "session")
        ),
    ),
    Harness(
        "kv-snapshot",
        _kv_snapshot,
        [b"".join(_kv_store().snapshot())],
        (SnapshotInvalid,),
        mend=_digested,
    ),
    Harness(
        "kv-snapshot-records",
        of_records(_kv_snapshot),
        [records_of(_kv_store().snapshot())],
        (SnapshotInvalid, PayloadError),
    ),
    Harness("ledger-command", _ledger_command, _LEDGER, (), ("agents.ledger.commands:decode",)),
    Harness(
        "ledger-rows",
        of_value(
            *(
                getattr(ledger_parsing, f"parse_{name}")
                for name in (
                    "spec",
                    "task_id",
                    "assignment",
                    "lease_ref",
                    "renewal",
                    "completion",
                    "error",
                    "failure",
                    "release",
                    "peer_end",
                    "voted",
                    "disapproval",
                )
            ),
            VoteWish.from_wire,
        ),
        [
            *map(as_payload, _ITEMS.values()),
            as_payload([_SPEC, b"terms"]),
            as_payload([ID, PEER]),
            as_payload([[PEER], [PEER], 2, 3, 60_000]),
        ],
        (PayloadError,),
        (
            *tuple(
                f"agents.ledger.parsing:parse_{name}"
                for name in (
                    "spec",
                    "task_id",
                    "assignment",
                    "lease_ref",
                    "renewal",
                    "completion",
                    "error",
                    "failure",
                    "release",
                    "peer_end",
                    "voted",
                    "disapproval",
                )
            ),
            "agents.tasking.voted:VoteWish.from_wire",
        ),
    ),
    Harness(
        "task-views",
        of_value(_view, _work),
        [as_payload(_VIEW.to_wire()), as_payload(list(_WORK))],
        (PayloadError,),
        (
            "agents.ledger.views:TaskView.from_wire",
            "agents.ledger.views:Work.from_wire",
            "agents.ledger.views:_attempt_from_wire",
        ),
    ),
    Harness(
        "ledger-snapshot",
        _ledger_snapshot,
        [b"".join(_ONE.snapshot())],
        (LedgerSnapshotInvalid,),
        mend=_digested,
    ),
    Harness(
        "ledger-snapshot-records",
        of_records(_ledger_snapshot),
        [records_of(_ONE.snapshot())],
        (LedgerSnapshotInvalid, PayloadError),
        ("agents.ledger.snapshot_rows:parse_task",),
    ),
    Harness(
        "proposal",
        ballots.Proposal.decode,
        [PROPOSAL.raw, proposal_of(False).raw],
        (ballots.Malformed,),
        ("consensus.ballots.proposal:Proposal.decode", "agents.ledger.voted:read_terms"),
    ),
    Harness(
        "ballot",
        ballots.Ballot.decode,
        [ballot_of(1, _YES, "because").raw],
        (ballots.Malformed,),
        ("consensus.ballots.ballot:Ballot.decode",),
    ),
    Harness(
        "evidence",
        _evidence,
        [_EVIDENCE],
        (ballots.BallotsError,),
        ("consensus.ballots.ballot:Evidence.decode",),
    ),
    Harness(
        "blocking",
        _blocking,
        [BLOCKING],
        (ballots.BallotsError,),
        ("consensus.ballots.blocking:Blocking.from_bytes",),
    ),
    Harness(
        "certificate-of-a-quorum",
        lambda data: ballots.verify(data, SCHEME, PROPOSAL.electors),
        CERTIFICATES,
        (ballots.CertificateInvalid,),
        ("consensus.ballots.certificate:QuorumCertificate.from_bytes",),
    ),
    Harness(
        "certificate-json",
        ballots.from_json,
        [ballots.to_json(certificate_of(_YES, _YES, _YES)).encode()],
        (ballots.CertificateInvalid,),
        ("consensus.ballots.certificate_json:from_json",),
        is_text=True,
    ),
    Harness(
        "register-command",
        _register,
        _COMMANDS,
        (),
        ("consensus.ballots.register_commands:decode",),
    ),
    Harness(
        "register-snapshot",
        of_value(_restore_register),
        _register_snapshot(),
        (PayloadError, SnapshotInvalid),
    ),
    Harness("snapshot-file", _snapshot_file, [_FILE], (Damaged,), mend=_rehashed),
    Harness("replica-body", _body, [_BODY], (SnapshotInvalid,)),
    Harness(
        "cluster-file",
        _cluster,
        [_CLUSTER_SEED],
        (ClusterDamaged,),
        ("agents.cluster:Cluster.load",),
        is_text=True,
    ),
    Harness(
        "address",
        lambda data: parse_address(data.decode("utf-8", "replace")),
        [b"127.0.0.1:4747"],
        (ValueError,),
        ("consensus.node.peers:parse_address",),
        is_text=True,
    ),
]
