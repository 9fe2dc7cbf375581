"""What clients asked and were told, noted where it passes: between a `Net` and its node.

So programs use an ordinary `Net`, and every way of asking is seen, in both worlds alike.

What this module does not know: what must hold of it (`checks`), how a node is reached.

Invariants: what was refused is noted as refused only where the error says that it is definite; a
node that went away in between leaves the outcome open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.chaos.store_model import CompareSet, Get, Put, Remove, StoreOp
from agents.chaos.timeline import Timeline, What
from agents.errors import AgentsError, CompareFailed, NodeNotUp
from agents.local import Gate, GateChannel
from consensus.sim import REFUSED, UNKNOWN, Done, OperationOutcome, Recorder
from p2p import P2PError

DRIFT_DIVISOR = 8  # what a holder takes off its lease, and its margin; as `consensus.kv`
MARGIN_MS = 10
DONE = "done"


@dataclass(slots=True)
class Acknowledged:
    """A task that a quorum has, as its submitter was told."""

    number: int
    skill: str
    node: str
    at_ms: int
    result: tuple[bytes | None, str] | None = None  # once it was done, and who saw it

    @property
    def alias(self) -> str:
        return f"t{self.number}"


@dataclass(slots=True)
class Hold:
    """A lock in somebody's hands, as the holder may believe."""

    lock: str
    token: int
    node: str
    from_ms: int
    until_ms: int


@dataclass(slots=True)
class Recording:
    """Everything that the clients of one run saw.

    Attributes:
        unjudged: keys that end by themselves, of which no order is asked.
        on_result, on_hold: hear of what can be judged at once.
    """

    timeline: Timeline
    now_us: Callable[[], int]
    store: Recorder[StoreOp] = field(default_factory=Recorder)
    unjudged: set[str] = field(default_factory=set)
    tasks: dict[str, Acknowledged] = field(default_factory=dict)
    holds: dict[str, list[Hold]] = field(default_factory=dict)
    on_result: Callable[[str, str, Mapping[str, Any]], None] = lambda node, task, view: None
    on_hold: Callable[[Hold], None] = lambda hold: None

    # -- tasks ---------------------------------------------------------------------------------

    def submitted(self, node: str, params: Mapping[str, Any], ids: list[str]) -> None:
        news = [task_id for task_id in dict.fromkeys(ids) if task_id not in self.tasks]
        now_ms = self.timeline.now_ms
        for task_id, spec in zip(ids, params["tasks"], strict=True):
            if task_id not in self.tasks:
                number = len(self.tasks) + 1
                self.tasks[task_id] = Acknowledged(number, str(spec["skill"]), node, now_ms)
        if news:
            names = _spans([self.tasks[task_id].number for task_id in news])
            skill = self.tasks[news[0]].skill
            self.timeline.add(
                What.TASK, node, f"was promised {names} ({skill})", promised=len(news)
            )

    def seen(self, node: str, views: Iterable[tuple[str, Mapping[str, Any] | None]]) -> None:
        """Somebody was told how tasks stand."""
        done: dict[int, list[int]] = {}  # by how often it was executed
        for task_id, view in views:
            if view is None or view["state"] != DONE or task_id not in self.tasks:
                continue
            self.on_result(node, task_id, view)
            task = self.tasks[task_id]
            if task.result is None:
                task.result = (view["result"], node)
                done.setdefault(view["executions"], []).append(task.number)
        for times, numbers in sorted(done.items()):
            again = f", executed {times} times" if times != 1 else ""
            self.timeline.add(
                What.TASK, node, f"has the results of {_spans(numbers)}{again}", done=len(numbers)
            )

    # -- locks ---------------------------------------------------------------------------------

    def claimed(self, node: str, lock: str, token: int, sent_ms: int, lease_ms: int) -> None:
        until_ms = sent_ms + lease_ms - lease_ms // DRIFT_DIVISOR - MARGIN_MS
        found = self._hold(lock, token)
        if found is not None:
            if until_ms > found.until_ms:
                found.until_ms = until_ms
                self.on_hold(found)
            return
        hold = Hold(lock, token, node, self.timeline.now_ms, until_ms)
        self.on_hold(hold)
        self.holds.setdefault(lock, []).append(hold)
        self.timeline.add(What.LOCK, node, f"holds {lock!r} under token {token}")

    def released(self, lock: str, token: int) -> None:
        """The holder has ended it, whatever becomes of its asking to release it."""
        hold = self._hold(lock, token)
        if hold is not None:
            hold.until_ms = min(hold.until_ms, self.timeline.now_ms)

    def _hold(self, lock: str, token: int) -> Hold | None:
        return next((h for h in self.holds.get(lock, ()) if h.token == token), None)


class RecordingGate:
    """A gate whose traffic is noted.

    Args:
        client: its name in histories.
    """

    def __init__(self, gate: Gate, recording: Recording, node: str, client: str) -> None:
        self._gate = gate
        self._recording = recording
        self._node = node
        self._client = client

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        """See `Gate.request`."""
        op = _store_op(operation, params)
        if op is not None:
            return await self._store(op, operation, params)
        recording, sent_ms = self._recording, self._recording.timeline.now_ms
        if operation == "lock.release":
            recording.released(params["name"], int(params["token"]))
        answer = await self._gate.request(operation, params)
        match operation:
            case "submit":
                recording.submitted(self._node, params, list(answer))
            case "wait":
                recording.seen(self._node, answer)
            case "task":
                recording.seen(self._node, [(str(params["id"]), answer)])
            case "lock.claim" if answer[0]:
                lease_ms = int(params["lease_ms"])
                recording.claimed(self._node, params["name"], int(answer[1]), sent_ms, lease_ms)
            case "lock.renew" if answer:
                token, lease_ms = int(params["token"]), int(params["lease_ms"])
                recording.claimed(self._node, params["name"], token, sent_ms, lease_ms)
        return answer

    def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        """See `Gate.stream`."""
        return self._gate.stream(operation, params)

    async def open(self, operation: str, params: Mapping[str, Any]) -> GateChannel:
        """See `Gate.open`."""
        return await self._gate.open(operation, params)

    async def _store(self, op: StoreOp, operation: str, params: Mapping[str, Any]) -> Any:
        recording = self._recording
        if params.get("ttl_s") is not None:
            recording.unjudged.add(op.key)
        number = recording.store.invoke(self._client, op, recording.now_us())
        outcome: OperationOutcome = UNKNOWN
        try:
            answer = await self._gate.request(operation, params)
            outcome = Done(_told(op, answer))
        except CompareFailed:
            outcome = Done(False)
            raise
        except (AgentsError, P2PError) as error:
            # One that went away in between may have done it.
            is_definite = error.definite and not isinstance(error, NodeNotUp)
            outcome = REFUSED if is_definite else UNKNOWN
            raise
        finally:
            recording.store.settle(number, outcome, recording.now_us())
        return answer


def _store_op(operation: str, params: Mapping[str, Any]) -> StoreOp | None:
    """What is asked of the store, if it is about one key and has to be linearizable."""
    match operation:
        case "kv.get" if not params["stale_ok"]:
            return Get(params["key"])
        case "kv.put":
            return Put(params["key"], params["value"])
        case "kv.cas":
            return CompareSet(params["key"], params["expected"], params["value"])
        case "kv.delete":
            return Remove(params["key"], params["version"])
    return None


def _spans(numbers: list[int]) -> str:
    """The aliases of these tasks, runs of them as from to."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"t{r[0]}" if len(r) == 1 else f"t{r[0]}-t{r[-1]}" for r in runs)


def _told(op: StoreOp, answer: Any) -> Any:
    if isinstance(op, Get):
        row = answer[3]
        return None if row is None else (row[0], row[1])
    return answer
