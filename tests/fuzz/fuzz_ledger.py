"""Harnesses for the ledger: its commands, rows and snapshots."""

from __future__ import annotations

import contextlib
from typing import Any

from fuzz_lab import Harness, as_payload
from fuzz_state import A, digested, of_records, records_of
from fuzz_wire import ID, PEER, of_value

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
from keys import PeerId
from p2p import PayloadError

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


HARNESSES = [
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
        mend=digested,
    ),
    Harness(
        "ledger-snapshot-records",
        of_records(_ledger_snapshot),
        [records_of(_ONE.snapshot())],
        (LedgerSnapshotInvalid, PayloadError),
        ("agents.ledger.snapshot_rows:parse_task",),
    ),
]
