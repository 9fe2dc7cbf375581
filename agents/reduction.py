"""Map-reduce over the ledger: one task an item, results folded in the order of the items.

The tasks survive workers and leaders. The folding happens in the program that asked; if that
program dies, the same call with the same `key` finds the tasks that are done already.

What this module does not know: how tasks are scheduled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from agents.ledger import TaskView
from agents.net import Net
from agents.task import result_of

R = TypeVar("R")

# Where `conclave run` listens: a job need not pass progress along.
listening: ContextVar[Callable[[Progress], None] | None] = ContextVar("progress", default=None)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a map-reduce is; `last` is the task that has just ended."""

    done: int
    total: int
    executions: int
    last: TaskView


async def map_reduce(
    net: Net,
    skill: str,
    items: Sequence[Any],
    reduce: Callable[[Sequence[Any]], R],
    *,
    key: str | None = None,
    job: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> R:
    """Run `skill` on every item and return `reduce(results)`, results in the order of the items.

    Args:
        key: makes it repeatable: item number n gets the task key `key/n`.
        job: a label for `conclave tasks`.
        options: of `Net.submit_many`: `retries=`, `lease=`, `limit=`, `priority=`.

    Raises:
        TaskFailed, TaskParked, TaskCancelled: an item without a result.
    """
    tell = on_progress or listening.get()
    keys = [f"{key}/{n}" for n in range(len(items))] if key is not None else None
    tasks = await net.submit_many(skill, items, keys=keys, job=job, **options)
    results: dict[str, Any] = {}
    executions = 0
    async for view in tasks.views():
        results[view.task_id] = result_of(view)
        executions += view.executions
        if tell is not None:
            tell(Progress(len(results), len(tasks), executions, view))
    return reduce([results[task_id] for task_id in tasks.ids])
