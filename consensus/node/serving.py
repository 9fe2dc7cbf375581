"""Clients over plain TCP: one JSON object a line, answered by one line with the same `id`.

    {"id": 1, "op": "write", "key": "x", "value": 5}            {"id": 1, "ok": true, "version": 12}
    {"id": 2, "op": "read", "key": "x"}                         {"id": 2, "ok": true, "value": 5}
    {"id": 3, "op": "cas", "key": "x", "expect": 5, "value": 6} {"id": 3, "fail": "value_mismatch"}
    {"id": 4, "op": "claim", "key": "job", "value": "me"}       {"id": 4, "ok": true, "token": 15}
    {"id": 5, "op": "renew", "key": "job", "token": 15}         {"id": 5, "ok": true, "token": 15}
    {"id": 6, "op": "complete", "key": "job", "token": 15, "value": "done"}
    {"id": 7, "op": "status"}
    {"id": 8, "op": "snapshot"}

`fail` means that it certainly did not and will not happen; with `not_leader` comes the `leader`.
`unknown` means that it may have happened or may yet. A read is linearizable unless it says
`"linearizable": false`. `expect` is a value, or null for a key that must be absent; `lease_ms` may
go with claim and renew. Requests of a connection run side by side, answers come as they are ready.

What this module does not know: how the log decides.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from consensus.errors import (
    AppliedTimeout,
    ConsensusError,
    NotLeader,
    OutcomeUnknown,
    ProposalError,
)
from consensus.kv import (
    Reply,
    encode_acquire,
    encode_compare_set,
    encode_complete,
    encode_expire,
    encode_put,
    encode_renew,
)
from consensus.node.machine import StoreMachine, entry_of
from consensus.raft import Role
from consensus.runner import Runner

LEASE_MS = 5_000
MAX_LINE_BYTES = 1024 * 1024
MAX_RUNNING = 4_096
EXPIRE_EVERY_S = 0.05
EXPIRE_AT_ONCE = 256

Answer = dict[str, Any]


class BadRequest(ValueError):
    """A line that is no request."""


class Serving:
    """Answers clients from one runner. `clock_ms` is monotonic."""

    def __init__(
        self, name: str, runner: Runner, machine: StoreMachine, clock_ms: Callable[[], int]
    ) -> None:
        self._name = name
        self._runner = runner
        self._machine = machine
        self._clock_ms = clock_ms
        self._lead: tuple[int, int, int] = (0, 0, 0)  # term, own time and ledger time when it began
        self._running: set[asyncio.Task[None]] = set()
        self._ops: dict[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]] = {
            "read": self._read,
            "write": self._write,
            "cas": self._cas,
            "claim": self._claim,
            "renew": self._renew,
            "complete": self._complete,
            "status": self._status,
            "snapshot": self._snapshot,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it goes."""
        try:
            while line := await reader.readline():
                if len(self._running) >= MAX_RUNNING:
                    _say(writer, {"id": _id_of(line), "fail": "overloaded"})
                    continue
                task = asyncio.get_running_loop().create_task(self._one(line, writer))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        except (OSError, ValueError):
            return  # it is gone, or its line is too long
        finally:
            writer.close()

    async def expire(self) -> None:
        """While this node leads, have what has run out decided (never ended by a timer alone)."""
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            if self._runner.status().role is not Role.LEADER:
                continue
            due = self._machine.store.expired(self._ledger_ms(), EXPIRE_AT_ONCE)
            if due:
                try:
                    await self._decide(encode_expire(due))
                except ConsensusError:
                    continue  # whoever leads then does it

    async def _one(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        answer: Answer = {"id": None}
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise BadRequest("a request is an object")
            answer["id"] = request.get("id")
            work = self._ops.get(str(request.get("op")))
            if work is None:
                raise BadRequest(f"op is one of {', '.join(self._ops)}")
            answer |= await work(request)
        except (OutcomeUnknown, AppliedTimeout) as error:
            answer["unknown"] = str(error)
        except NotLeader as error:
            answer |= {"fail": "not_leader", "leader": error.leader_hint}
        except ProposalError as error:
            answer["unknown" if not error.definite else "fail"] = str(error)
        except (BadRequest, KeyError, TypeError, ValueError, RecursionError) as error:
            answer["fail"] = f"bad request: {error}"
        _say(writer, answer)

    # -- operations ----------------------------------------------------------------------------

    async def _read(self, request: Mapping[str, Any]) -> Answer:
        key = _key(request)
        if request.get("linearizable", True):
            try:
                await self._runner.read_index()
            except AppliedTimeout as error:
                return {"fail": str(error)}  # nothing was read: that is no doubt but a failure
        entry = self._machine.store.get(key)
        if entry is None:
            return {"ok": True, "value": None, "version": 0}
        return {"ok": True, "value": json.loads(entry.value), "version": entry.version}

    async def _write(self, request: Mapping[str, Any]) -> Answer:
        return _answer_of(await self._decide(encode_put(_key(request), _value(request))))

    async def _cas(self, request: Mapping[str, Any]) -> Answer:
        expect = request["expect"]
        expected = None if expect is None else _packed(expect)
        command = encode_compare_set(_key(request), expected, _value(request))
        return _answer_of(await self._decide(command))

    async def _claim(self, request: Mapping[str, Any]) -> Answer:
        holder = str(request.get("value") or "client")
        command = encode_acquire(_key(request), holder, _lease_ms(request))
        return _answer_of(await self._decide(command))

    async def _renew(self, request: Mapping[str, Any]) -> Answer:
        command = encode_renew(_key(request), _token(request), _lease_ms(request))
        return _answer_of(await self._decide(command))

    async def _complete(self, request: Mapping[str, Any]) -> Answer:
        command = encode_complete(_key(request), _token(request), _value(request))
        return _answer_of(await self._decide(command))

    async def _status(self, request: Mapping[str, Any]) -> Answer:
        status = self._runner.status()
        return {
            "ok": True,
            "node": self._name,
            "role": status.role.value,
            "term": status.term,
            "leader": status.leader,
            "commit": status.commit,
            "applied": self._runner.applied,
            "last_index": status.last_index,
            "base_index": status.base_index,
            "snapshot_index": status.snapshot_index,
            "voters": list(status.voters),
            "digest": self._machine.store.digest().hex(),
        }

    async def _snapshot(self, request: Mapping[str, Any]) -> Answer:
        meta = self._runner.make_snapshot()
        return {"ok": True, "index": None if meta is None else meta.index}

    async def _decide(self, command: bytes) -> Reply:
        committed = await self._runner.propose(entry_of(self._ledger_ms(), command))
        assert isinstance(committed.result, Reply)
        return committed.result

    def _ledger_ms(self) -> int:
        """Ledger time when this node began to lead, and its own time since: no wall clock."""
        store, status, now_ms = self._machine.store, self._runner.status(), self._clock_ms()
        if self._lead[0] != status.term:
            self._lead = (status.term, now_ms, store.time_ms)
        _, began_ms, ledger_ms = self._lead
        return max(store.time_ms, ledger_ms + now_ms - began_ms)


def _answer_of(reply: Reply) -> Answer:
    if reply.refusal is not None:
        return {"fail": reply.refusal.value}
    result = reply.results[0]
    if result.refusal is not None:
        return {"fail": result.refusal.value, "version": result.version, "token": result.token}
    return {"ok": True, "version": result.version, "token": result.token, "index": reply.log_index}


def _key(request: Mapping[str, Any]) -> str:
    key = request["key"]
    if not isinstance(key, str):
        raise BadRequest("key is a text")
    return key


def _token(request: Mapping[str, Any]) -> int:
    token = request["token"]
    if type(token) is not int:
        raise BadRequest("token is a whole number")
    return token


def _lease_ms(request: Mapping[str, Any]) -> int:
    lease_ms = request.get("lease_ms", LEASE_MS)
    if type(lease_ms) is not int:
        raise BadRequest("lease_ms is a whole number")
    return lease_ms


def _value(request: Mapping[str, Any]) -> bytes:
    return _packed(request["value"])


def _packed(value: Any) -> bytes:
    """Equal values are equal bytes, so that they can be compared."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _id_of(line: bytes) -> Any:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request.get("id") if isinstance(request, dict) else None


def _say(writer: asyncio.StreamWriter, answer: Answer) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
