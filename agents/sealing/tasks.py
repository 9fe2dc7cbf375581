"""Sealed tasks: payload and result can be read by their submitter and their worker alone.

    payload in the log   for the worker, purpose `task/<id>`, of `[submitter's statement, payload]`
    result in the log    for the submitter, purpose `result/<id>`, of the result

The purposes tie both to their task, and the senders are checked against the ledger's, so that
nobody makes another task of them. The submitter's statement travels inside, because it may have
gone when the result is there. What a handler raised stays at its worker but for the error's name.

What this module does not know: the ledger, how tasks are scheduled, handlers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from agents.errors import InvalidArguments
from agents.hosting.values import from_bytes, to_bytes
from agents.ledger import MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, ErrorText, Work
from agents.names import MAX_NAME_CHARS, at_peer, peer_meant
from agents.sealing.service import Sealing
from keys import PeerId
from keys.sealing import SealedMalformed, SealingKeyRefused, SealingStatement
from p2p import PayloadError, PayloadTooLarge

_HIDDEN: Final = "what it said stays in its worker's log: the task is sealed"


@dataclass(frozen=True, slots=True)
class OpenedWork:
    """A task as its handler gets it.

    Attributes:
        reply: the key to seal its result with; None of one that is not sealed.
    """

    work: Work
    reply: SealingStatement | None


class SealedTasks:
    """Seals and opens the payloads and results of one node's tasks."""

    def __init__(self, sealing: Sealing, own: PeerId) -> None:
        self._sealing = sealing
        self._own = own

    async def seal_payload(
        self, task_id: str, skill: str, payload: bytes, to: PeerId
    ) -> tuple[str, bytes]:
        """The skill and the payload under which a task is submitted that only `to` can do.

        Raises:
            NoSealingKey, HybridUnavailable, PayloadTooLarge: it is not submitted.
            InvalidArguments: the name is too long to be meant for one peer.
        """
        pinned = at_peer(skill, to)
        if len(pinned) > MAX_NAME_CHARS:
            limit = MAX_NAME_CHARS - (len(pinned) - len(skill))
            raise InvalidArguments(skill, f"a sealed task's skill has at most {limit} characters")
        inside = to_bytes([self._sealing.statement.raw, payload])
        _check(inside, MAX_PAYLOAD_BYTES, "task payload")
        sealed = await self._sealing.seal([to], f"task/{task_id}", inside)
        _check(sealed, MAX_PAYLOAD_BYTES, "sealed task payload")
        return pinned, sealed

    def open_work(self, work: Work) -> OpenedWork:
        """What this node is to do; a task that is not sealed comes back as it is.

        Raises:
            SealedRefused, SealingKeyRefused: it is not for us, or not what its submitter sealed.
        """
        skill, to = peer_meant(work.skill)
        if to is None:
            return OpenedWork(work, None)
        purpose = f"task/{work.task_id}"
        message = self._sealing.unseal(work.payload, purpose, is_stored=True, sender=work.submitter)
        raw, payload = _two(message.payload)
        reply = SealingStatement.decode(raw)
        if not reply.is_of(message.principal.peer_id, message.principal.public_key):
            raise SealingKeyRefused(work.submitter, "it came in a task, and is not its own")
        return OpenedWork(work._replace(skill=skill, payload=payload), reply)

    async def seal_result(self, opened: OpenedWork, result: bytes) -> bytes:
        """The result as it goes into the log.

        Raises:
            NoSealingKey: the submitter's key is too old, and it is not there to say a new one.
            PayloadTooLarge.
        """
        if opened.reply is None:
            return result
        reply, purpose = opened.reply, f"result/{opened.work.task_id}"
        known = [reply] if self._sealing.holds(reply) else []
        _check(result, MAX_RESULT_BYTES, "task result")
        sealed = await self._sealing.seal([reply.peer_id], purpose, result, known=known)
        _check(sealed, MAX_RESULT_BYTES, "sealed task result")
        return sealed

    def open_result(self, task_id: str, skill: str, data: bytes) -> bytes:
        """The result of a sealed task that this node has submitted.

        Raises:
            SealedRefused.
        """
        worker = peer_meant(skill)[1]
        assert worker is not None, "the task is not sealed"
        message = self._sealing.unseal(
            data, f"result/{task_id}", is_stored=True, sender=PeerId(worker)
        )
        return message.payload


def hidden(error: ErrorText) -> ErrorText:
    """What the log may know of a failure of a sealed task."""
    return ErrorText(error.type, _HIDDEN, "")


def _two(inside: bytes) -> tuple[bytes, bytes]:
    try:
        value: Any = from_bytes(inside)
    except PayloadError as error:
        raise SealedMalformed(str(error)) from error
    if not (isinstance(value, list) and [type(v) for v in value] == [bytes, bytes]):
        raise SealedMalformed("it does not hold a key and a payload")
    return value[0], value[1]


def _check(data: bytes, limit_bytes: int, what: str) -> None:
    if len(data) > limit_bytes:
        raise PayloadTooLarge(len(data), limit_bytes, what)
