"""How the agents of a node answer questions: `@votes("deploy")`.

A judge gets a context and a question and returns True (approve), False (reject), None (abstain), a
`Choice`, or a pair of one of these and a reason. What raises, or returns something else, abstains
and says so in the reason. A veto of a node that has no right to one is a rejection.

A node has one ballot, so it has one judge for a kind of question; without a kind a judge answers
all questions that no other one does.

What this module does not know: ballots, who asks, where the answer goes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from agents.errors import BadAgent
from agents.ledger import VotedTask, is_task_question
from consensus.ballots import Choice

F = TypeVar("F", bound=Callable[..., Any])
Judge = Callable[[Any, "Question"], Any]

MARK: Final = "_conclave_votes"
ANY: Final = ""
MAX_REASON_BYTES: Final = 1024

_WORDS: Final = {True: Choice.APPROVE, False: Choice.REJECT, None: Choice.ABSTAIN}


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge decides on.

    Attributes:
        subject: what it is about, as the proposer gave it; every ballot signs its digest.
        may_veto: whether this node has the right to a veto on it.
    """

    id: str
    question: str
    subject: bytes
    kind: str
    proposer: str
    proposer_name: str
    voters: tuple[str, ...]
    may_veto: bool

    @property
    def task(self) -> VotedTask | None:
        """What is to be done and by whom, if it asks who may do a task; its kind is "task"."""
        return VotedTask.read(self.subject) if is_task_question(self.id) else None


class JudgingOffer(Protocol):
    """What `Judges` needs of an agent."""

    @property
    def name(self) -> str: ...

    @property
    def judges(self) -> Mapping[str, Judge]: ...


def votes(kind: str = ANY) -> Callable[[F], F]:
    """Declare a method of an `Agent` class to be its judge of questions of a kind."""

    def declare(function: F) -> F:
        setattr(function, MARK, (*getattr(function, MARK, ()), kind))
        return function

    return declare


def marked(owner: object) -> dict[str, Judge]:
    """The judges among an object's methods, by kind.

    Raises:
        BadAgent: two for one kind.
    """
    found: dict[str, Judge] = {}
    for name in dir(type(owner)):
        for kind in getattr(inspect.getattr_static(type(owner), name), MARK, ()):
            if kind in found:
                raise BadAgent(f"{type(owner).__name__} has two judges of {shown(kind)}")
            found[kind] = getattr(owner, name)
    return found


class Judges:
    """Those of all agents of one node.

    Raises:
        BadAgent: two for one kind.
    """

    def __init__(self, offers: Iterable[JudgingOffer]) -> None:
        self._judges: dict[str, tuple[str, Judge]] = {}
        for offer in offers:
            for kind, judge in offer.judges.items():
                if kind in self._judges:
                    other = self._judges[kind][0]
                    raise BadAgent(
                        f"agents {other} and {offer.name} both judge {shown(kind)}; a node has"
                        " one ballot"
                    )
                self._judges[kind] = (offer.name, judge)

    def agent_for(self, kind: str) -> str | None:
        """Whose judge answers questions of this kind; None leaves it to a person."""
        found = self._judges.get(kind) or self._judges.get(ANY)
        return found[0] if found is not None else None

    async def judge(self, context: Any, question: Question) -> tuple[Choice, str]:
        """What the judge of this question says."""
        _, judge = self._judges.get(question.kind) or self._judges[ANY]
        try:
            said = await _call(judge, context, question)
        except Exception as error:  # noqa: BLE001 - whatever a judge raises is an abstention
            return Choice.ABSTAIN, shortened(f"{type(error).__name__}: {error}")
        return read_answer(said, question)


def read_answer(said: Any, question: Question) -> tuple[Choice, str]:
    """A choice and a reason from what a judge returned."""
    reason = ""
    if isinstance(said, tuple) and len(said) == 2 and isinstance(said[1], str):
        said, reason = said
    if isinstance(said, Choice):
        choice = said
    elif said is None or isinstance(said, bool):
        choice = _WORDS[said]
    else:
        return Choice.ABSTAIN, f"the judge returned {type(said).__name__}, which is no choice"
    if choice is Choice.VETO and not question.may_veto:
        return Choice.REJECT, shortened(f"a veto without the right to one {reason}".rstrip())
    return choice, shortened(reason)


def shortened(reason: str) -> str:
    """As much of it as a ballot carries."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


def shown(kind: str) -> str:
    return f"questions of kind {kind!r}" if kind else "all other questions"


async def _call(judge: Judge, context: Any, question: Question) -> Any:
    if inspect.iscoroutinefunction(judge):
        return await judge(context, question)
    # A plain function may take its time; the node goes on meanwhile.
    said = await asyncio.to_thread(judge, context, question)
    return await said if inspect.isawaitable(said) else said
