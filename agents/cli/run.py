"""`conclave run FILE`: the job that a file declares, with live progress."""

from __future__ import annotations

import argparse
import inspect
import sys
import typing
from typing import Any

from agents.agent import Agent, Job
from agents.cli.attached import ask_node, print_json
from agents.cli.loading import load_agents
from agents.cli.words import Parser
from agents.errors import BadAgent
from agents.net import Net
from agents.reduction import Progress, listening

_WORDS = (str, int, float, bool)


def run(arguments: argparse.Namespace) -> None:
    """Find the job, give it its options, run it, print what it returns."""
    job = _job_of(load_agents([arguments.agent]), arguments.agent)
    options = _options_of(job, arguments.agent, arguments.rest)

    async def ask(net: Net) -> Any:
        with _Bar() as bar:
            token = listening.set(bar.show)
            try:
                return await job.function(net, **options)
            finally:
                listening.reset(token)

    value = ask_node(arguments, ask)
    if not arguments.json and job.render is not None:
        print(job.render(value))
    elif value is not None:
        print_json(value)


def _job_of(agents: tuple[Agent, ...], word: str) -> Job:
    jobs = [agent.declared_job for agent in agents if agent.declared_job is not None]
    if len(jobs) != 1:
        found = "no job" if not jobs else f"{len(jobs)} jobs"
        raise BadAgent(f"{word} declares {found}; put one function under `@agent.job()`")
    return jobs[0]


def _options_of(job: Job, word: str, rest: list[str]) -> dict[str, Any]:
    """Return the job's own options, read from the words behind the file."""
    parser = Parser(
        prog=f"conclave run {word}", description=inspect.getdoc(job.function), add_help=True
    )
    hints = typing.get_type_hints(job.function)
    for name, parameter in list(inspect.signature(job.function).parameters.items())[1:]:
        wanted = hints.get(name, str)
        required = parameter.default is inspect.Parameter.empty
        flag = "--" + name.replace("_", "-")
        if wanted is bool:
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction)
        else:
            kind = wanted if wanted in _WORDS else str
            parser.add_argument(flag, dest=name, type=kind, required=required)
    given = vars(parser.parse_args(rest))
    return {name: value for name, value in given.items() if value is not None}


class _Bar:
    """Progress on a terminal, and nothing where nobody looks."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
            self._task = self._progress.add_task("working", total=None)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, progress: Progress) -> None:
        """A task has ended."""
        if self._progress is not None:
            again = progress.executions - progress.done
            text = f"working ({again} ran again)" if again else "working"
            self._progress.update(
                self._task, completed=progress.done, total=progress.total, description=text
            )
