"""`conclave demo`: the demo, told on a terminal, in plain lines, or as JSON."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import agents
from agents.demo.director import DemoOptions, Outcome, Picture, play
from agents.demo.processes import DemoFailed
from agents.demo.story import Line

EXAMPLE = "survey.py"


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; 0 only if its result is verified."""
    path = Path(arguments.path or sysconfig.get_path("stdlib")).expanduser().resolve()
    if not path.is_dir():
        raise DemoFailed(f"{path} is not a directory")
    agent_file = _agent_file()
    options = DemoOptions(
        path, arguments.agents, agent_file, _module_of(agent_file), arguments.keep
    )
    picture = Picture()
    if sys.stdout.isatty() and not arguments.json:
        outcome = _play_live(options, picture)
    else:
        out = sys.stderr if arguments.json else sys.stdout
        outcome = _play(options, picture, lambda line: print(line, file=out, flush=True))
    if arguments.json:
        print(json.dumps(outcome.summary), flush=True)
    else:
        _print_end(outcome, options.survey.render)
    return 0 if outcome.summary["verified"] else 1


def _play(options: DemoOptions, picture: Picture, tell: Callable[[Line], None]) -> Outcome:
    return asyncio.run(play(options, tell, picture))


def _play_live(options: DemoOptions, picture: Picture) -> Outcome:
    from rich.live import Live

    from agents.demo.view import View

    view = View(picture)
    with Live(view, refresh_per_second=8, transient=True):
        return _play(options, picture, lambda line: view.lines.append(str(line)))


def _print_end(outcome: Outcome, render: Callable[[dict[str, Any]], str]) -> None:
    """The report, the story with times, and the proof."""
    summary = outcome.summary
    print("\nREPORT")
    print(render(outcome.report))
    if sys.stdout.isatty():
        print("\nSTORY")
        for line in outcome.story.lines:
            print(line)
    print("\nKILLED")
    for killing in summary["killed"]:
        print(
            f"{killing['peer']} ({killing['role']}): failure seen after {killing['detected_s']} s, "
            f"its work went on after {killing['recovered_s']} s"
        )
    again = summary["executions"] - summary["completed"]
    print("\nPROOF")
    print(f"{summary['completed']} of {summary['files']} files counted, each exactly once")
    print(f"{summary['executions']} executions: {again} ran again because their worker died")
    equal = "equal" if summary["verified"] else "DIFFER FROM"
    print(f"the totals {equal} those of a single process run beside it")
    print(f"{summary['elapsed_s']} s in all")


def _agent_file() -> Path:
    """Return the survey example: packed beside the demo, or in the source tree."""
    root = Path(agents.__file__).resolve().parent
    for place in (root / "demo" / EXAMPLE, root.parent / "examples" / EXAMPLE):
        if place.is_file():
            return place
    raise DemoFailed(f"the example {EXAMPLE} is missing from this installation")


def _module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("conclave_survey", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
