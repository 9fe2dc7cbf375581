"""Harnesses for decisions: proposals, ballots, certificates, and the register."""

from __future__ import annotations

import hashlib
from typing import Any

from fuzz_lab import Harness, as_payload
from fuzz_wire import of_value

import consensus.ballots as ballots
import consensus.ballots.register_commands as register_commands
from agents.tasking.used import UsedFile, parse_used
from consensus import SnapshotInvalid
from consensus.ballots.blocking import Blocking
from consensus.ballots.proposal import Elector
from keys import Identity, fingerprint, peer_id_of, verify_signature
from p2p import PayloadError

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


def _used(data: bytes) -> None:
    found = parse_used(data)
    assert found.encode() == data, "one form of each"


HARNESSES = [
    Harness(
        "used-approvals",
        _used,
        [UsedFile(16, (bytes(range(16)), b"task" + bytes(12))).encode(), UsedFile(0, ()).encode()],
        (ValueError,),
        ("agents.tasking.used:parse_used",),
        mend=lambda data: fingerprint(data[32:]) + data[32:],
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
]
