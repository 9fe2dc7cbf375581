"""Tasks that are assigned only after a vote: what is asked, and which answer counts.

The electorate, the threshold and the deadline are frozen when the task is submitted: its *terms*, a
proposal without a subject. Whenever the task could be given to a worker, the question is made from
the terms, the task and the worker alone, so every node makes the same bytes of it:

    subject   msgpack [MAGIC, VERSION, task id, skill, key, submitter, digest, worker, token, votes,
              payload, or nil if it is larger than MAX_SHOWN_PAYLOAD_BYTES]
    digest    BLAKE2b-256 over [task id, skill, key, submitter, payload]
    id        "task" and 12 bytes of BLAKE2b over (task id, worker, token, votes)

`token` is that of the task's latest lease and `votes` how many votes have ended without approval,
so an approval serves for one assignment: the next one is another question, whoever works on it.

What this module does not know: the register's rules, signatures; it asks what the register holds,
which the same log drives and which every replica has verified.

Invariant: a decision counts only if its whole text is the one that is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Protocol

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from agents.ledger.model import MAX_DURATION_MS, VOTE, Refusal, TaskSpec
from agents.ledger.task import Task
from consensus.ballots import Choice, Decision, Malformed, Proposal, Status, said_in
from keys import PeerId

KIND: Final = "task"
MAGIC: Final = "conclave task"
VERSION: Final = 1
MAX_SHOWN_PAYLOAD_BYTES: Final = 16 * 1024
MAX_TERMS_BYTES: Final = 128 * 1024

_ID_PREFIX: Final = b"task"
_NO_ID: Final = "0" * 32
_PLACEHOLDER: Final = "task"


class Approvals(Protocol):
    """What the ledger asks of the register of decisions."""

    def get(self, proposal_id: str) -> Decision | None: ...


@dataclass(frozen=True, slots=True)
class VotedTask:
    """What the subject of a task's question says, for who judges it.

    Attributes:
        payload: as it was submitted; None of a large one, of which there is only the digest.
        votes: how many votes on this task have ended without approval before.
    """

    task_id: str
    skill: str
    key: str | None
    submitter: str
    digest: bytes
    worker: str
    token: int
    votes: int
    payload: bytes | None

    @classmethod
    def read(cls, subject: bytes) -> VotedTask | None:
        """None for anything that is no such subject."""
        try:
            row = msgpack.unpackb(subject, raw=False, use_list=True)
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if not isinstance(row, list) or len(row) != 11 or row[:2] != [MAGIC, VERSION]:
            return None
        return cls(*row[2:])


def is_task_question(proposal_id: str) -> bool:
    """Whether an id is of those that only tasks' questions have."""
    return proposal_id.startswith(_ID_PREFIX.hex())


def make_terms(proposal: Proposal, spec: TaskSpec) -> bytes:
    """The terms of a task from a proposal that says who decides, how and until when."""
    return replace(
        proposal,
        proposal_id=_NO_ID,
        question=_PLACEHOLDER,
        subject=b"",
        kind=KIND,
        round=0,
        proposer=spec.submitter,
    ).raw


@lru_cache(maxsize=256)
def read_terms(terms: bytes) -> Proposal:
    """
    Raises:
        Malformed.
    """
    return Proposal.decode(terms)


def refusal_of_terms(terms: bytes, spec: TaskSpec) -> Refusal | None:
    """What is wrong with the terms of a well-formed task, or None."""
    if spec.policy != VOTE:
        return Refusal.UNKNOWN_POLICY
    if len(terms) > MAX_TERMS_BYTES:
        return Refusal.BAD_TERMS
    try:
        found = read_terms(terms)
    except Malformed:
        return Refusal.BAD_TERMS
    is_whole = make_terms(found, spec) == terms and found.deadline_ms <= MAX_DURATION_MS
    return None if is_whole else Refusal.BAD_TERMS


def question_on(task: Task, worker: PeerId) -> Proposal:
    """What is asked before this worker gets the task, as it stands now."""
    assert task.terms is not None
    spec = task.spec
    return replace(
        read_terms(task.terms),
        proposal_id=id_of(task, worker),
        question=f"May {worker[:8]} do task {spec.task_id[:12]}, {spec.skill}?",
        subject=_subject(task, worker),
    )


def id_of(task: Task, worker: PeerId) -> str:
    """The id of that question: cheaper than the question."""
    return id_made_of(task.spec.task_id, worker, task.token, task.votes)


def id_made_of(task_id: str, worker: PeerId, token: int, votes: int) -> str:
    """The id of a question from what makes it another one than those before."""
    row = ["conclave task question", task_id, worker, token, votes]
    digest = blake2b(_pack(row), digest_size=16 - len(_ID_PREFIX)).digest()
    return (_ID_PREFIX + digest).hex()


def digest_of(task_id: str, skill: str, key: str | None, submitter: str, payload: bytes) -> bytes:
    """What stands for a task, its payload included."""
    row = [task_id, skill, key, submitter, payload]
    return blake2b(_pack(row), digest_size=32).digest()


def decided_on(task: Task, worker: PeerId, approvals: Approvals | None) -> Decision | None:
    """What the register holds on exactly this question."""
    if approvals is None or task.terms is None:
        return None
    found = approvals.get(id_of(task, worker))
    if found is None or found.proposal.digest != question_on(task, worker).digest:
        return None
    return found


def is_approved(task: Task, worker: PeerId, approvals: Approvals | None) -> bool:
    """Whether this worker may have the task now, as far as a vote is asked for."""
    if task.terms is None:
        return True
    found = decided_on(task, worker, approvals)
    return found is not None and found.status is Status.APPROVED


def proof_of(task: Task, approvals: Approvals | None) -> bytes | None:
    """The certificate of the vote that gave the task to who has it; None without a vote, empty if
    the register holds it no more."""
    if task.terms is None:
        return None
    found = approvals.get(task.decision) if approvals and task.decision else None
    return (found.certificate if found is not None else None) or b""


def approvers(decision: Decision) -> list[str]:
    """The peer ids of those who approved it."""
    return [elector.peer_id for elector, choice, _ in said_in(decision) if choice is Choice.APPROVE]


def voters_of(task: Task) -> tuple[str, ...]:
    """The peer ids of those who decide on it."""
    electors = () if task.terms is None else read_terms(task.terms).electors
    return tuple(each.peer_id for each in electors)


def terms_view(task: Task) -> Mapping[str, Any] | None:
    """Who decides on it, and how far that is, as plain data."""
    if task.terms is None:
        return None
    terms = read_terms(task.terms)
    return {
        "voters": [{"peer": each.peer_id, "name": each.name} for each in terms.electors],
        "may_veto": [each.peer_id for each in terms.electors if each.may_veto],
        "needed": terms.quorum_weight,
        "total": terms.total_weight,
        "deadline_ms": terms.deadline_ms,
        "refused": task.votes,
        "decision": task.decision,
    }


def _subject(task: Task, worker: PeerId) -> bytes:
    spec = task.spec
    shown = spec.payload if len(spec.payload) <= MAX_SHOWN_PAYLOAD_BYTES else None
    about = (spec.task_id, spec.skill, spec.key, spec.submitter)
    digest = digest_of(*about, spec.payload)
    return _pack([MAGIC, VERSION, *about, digest, worker, task.token, task.votes, shown])


def _pack(row: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(row, use_bin_type=True)
    return packed
