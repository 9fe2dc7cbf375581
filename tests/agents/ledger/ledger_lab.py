"""A ledger with a log index of its own, and short names for what tests need often."""

from __future__ import annotations

from collections.abc import Iterable

from agents.ledger import (
    Applied,
    Assignment,
    Completion,
    ErrorText,
    Failure,
    LeaseRef,
    Ledger,
    Outcome,
    PeerEnd,
    Release,
    Renewal,
    State,
    TaskId,
    TaskSpec,
    TaskView,
    Token,
    Verdict,
    encode_assigned,
    encode_cancelled,
    encode_completed,
    encode_expired,
    encode_failed,
    encode_forgotten,
    encode_leases_ended,
    encode_released,
    encode_renewed,
    encode_retried,
    encode_submitted,
)
from keys import PeerId

ANNA, BEN, CARA = PeerId("anna"), PeerId("ben"), PeerId("cara")


def task_id(number: int) -> TaskId:
    return TaskId(f"{number:032x}")


def spec(number: int, **changes: object) -> TaskSpec:
    base = TaskSpec(task_id(number), "ocr", b"page", CARA)
    return base._replace(**changes)  # type: ignore[arg-type]


class Lab:
    """Applies commands at growing indexes and checks the invariants after each."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.index = 0
        self.now_ms = 1000

    def apply(self, command: bytes) -> Outcome:
        self.index += 1
        outcome = self.ledger.apply(self.index, command)
        self.ledger.check_invariants()
        return outcome

    def verdicts(self, command: bytes) -> tuple[Verdict, ...]:
        outcome = self.apply(command)
        assert isinstance(outcome, Applied), outcome
        return outcome.verdicts

    def one(self, command: bytes) -> Verdict:
        (verdict,) = self.verdicts(command)
        return verdict

    def submit(self, *specs: TaskSpec) -> tuple[Verdict, ...]:
        return self.verdicts(encode_submitted(self.now_ms, specs))

    def assign(self, number: int, peer: PeerId = ANNA, incarnation: int = 1) -> Verdict:
        item = Assignment(task_id(number), peer, "reader", incarnation)
        return self.one(encode_assigned(self.now_ms, [item]))

    def start(self, number: int, peer: PeerId = ANNA, **changes: object) -> Token:
        """Submit and assign; the token."""
        self.submit(spec(number, **changes))
        return self.assign(number, peer).token

    def renew(self, refs: Iterable[LeaseRef], peer: PeerId = ANNA) -> tuple[Verdict, ...]:
        return self.verdicts(encode_renewed(self.now_ms, [Renewal(peer, 1, tuple(refs))]))

    def complete(
        self, number: int, token: int, peer: PeerId = ANNA, result: bytes = b"text"
    ) -> Verdict:
        item = Completion(task_id(number), Token(token), peer, result)
        return self.one(encode_completed(self.now_ms, [item]))

    def fail(
        self, number: int, token: int, peer: PeerId = ANNA, *, retryable: bool = True
    ) -> Verdict:
        error = ErrorText("ValueError", "no page", "Traceback ...")
        item = Failure(task_id(number), Token(token), peer, error, retryable)
        return self.one(encode_failed(self.now_ms, [item]))

    def release(self, number: int, token: int, peer: PeerId = ANNA) -> Verdict:
        item = Release(task_id(number), Token(token), peer, "draining")
        return self.one(encode_released(self.now_ms, [item]))

    def end_leases(self, peer: PeerId, incarnation: int) -> tuple[Verdict, ...]:
        return self.verdicts(
            encode_leases_ended(self.now_ms, [PeerEnd(peer, incarnation, "peer died")])
        )

    def expire(self, number: int, token: int) -> Verdict:
        return self.one(encode_expired(self.now_ms, [LeaseRef(task_id(number), Token(token))]))

    def cancel(self, number: int) -> Verdict:
        return self.one(encode_cancelled(self.now_ms, [task_id(number)]))

    def retry(self, number: int) -> Verdict:
        return self.one(encode_retried(self.now_ms, [task_id(number)]))

    def forget(self, number: int) -> Verdict:
        return self.one(encode_forgotten(self.now_ms, [task_id(number)]))

    def view(self, number: int) -> TaskView:
        view = self.ledger.get(task_id(number))
        assert view is not None
        return view

    def state(self, number: int) -> State | None:
        return self.ledger.state_of(task_id(number))
