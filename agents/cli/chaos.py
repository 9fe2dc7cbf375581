"""`conclave chaos run FILE`: a scenario, its timeline and its verdict.

Python orders sets of words by a seed of its own, which a process gets at its start. So runs in
virtual time are made in processes of ours with one fixed hash seed; whoever starts the command need
not think of it.

What this module does not know: what a scenario does, how checks judge.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agents.chaos import (
    BadScenario,
    CannotHere,
    Run,
    load_scenario,
    picture_of,
    run_real_scenario,
    run_virtual_scenario,
)

HASH_SEED = "PYTHONHASHSEED"
FIXED = "0"
EXIT_FAILED = 1
WORKER = "-m", "agents.cli.chaos"


def run(arguments: argparse.Namespace) -> int:
    """Run it with every seed; 1 if one of the runs was not green.

    Raises:
        BadScenario: the file holds none.
    """
    path = Path(arguments.file)
    scenario = load_scenario(path)  # what is wrong with it is said at once
    if arguments.picture is not None and arguments.seeds is not None:
        raise BadScenario("--picture shows one run: give one --seed instead of --seeds")
    if arguments.real:
        if arguments.seeds is not None:
            raise CannotHere("--seeds", "real", "processes take their own time; give one --seed")
        made = run_real_scenario(scenario, arguments.seed, loopback=arguments.loopback)
        return _show(arguments, path, made.to_json())
    if arguments.loopback:
        raise CannotHere("--loopback", "virtual", "it says where processes run: add --real")
    if arguments.seeds is None:
        return _run_one(arguments, path)
    return _run_many(arguments, path)


def _run_one(arguments: argparse.Namespace, path: Path) -> int:
    (said,) = _runs(path, range(arguments.seed, arguments.seed + 1))
    return _show(arguments, path, said)


def _show(arguments: argparse.Namespace, path: Path, said: dict[str, Any]) -> int:
    if arguments.picture is not None:
        arguments.picture.write_text(picture_of(said, path.stem), encoding="utf-8")
    if arguments.json:
        print(json.dumps(said, sort_keys=True))
        return 0 if said["passed"] else EXIT_FAILED
    if not arguments.quiet:
        print("".join(f"{_line(event)}\n" for event in said["events"]), end="")
        print()
    print(_verdict(said, path, arguments))
    return 0 if said["passed"] else EXIT_FAILED


def _run_many(arguments: argparse.Namespace, path: Path) -> int:
    spans = _cut(arguments.seeds, arguments.workers)
    green, red = 0, 0
    lasted_s = took_s = 0.0
    with ThreadPoolExecutor(len(spans)) as pool:
        for said in _as_they_come(pool, path, spans):
            lasted_s, took_s = lasted_s + said["lasted_s"], took_s + said["took_s"]
            green, red = green + said["passed"], red + (not said["passed"])
            if arguments.json:
                del said["events"]
                print(json.dumps(said, sort_keys=True), flush=True)
            elif not said["passed"]:
                print(_verdict(said, path, arguments), flush=True)
    if not arguments.json:
        pace = f"{lasted_s:.0f} s of virtual time at {lasted_s / max(took_s, 1e-9):.0f} a second"
        print(f"{green} green, {red} failed; {pace}")
    return EXIT_FAILED if red else 0


def _as_they_come(
    pool: ThreadPoolExecutor, path: Path, spans: Sequence[range]
) -> Iterator[dict[str, Any]]:
    arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def read(span: range) -> None:
        try:
            for said in _runs(path, span):
                arrived.put(said)
        finally:
            arrived.put(None)

    reading = [pool.submit(read, span) for span in spans]
    left = len(spans)
    while left:
        said = arrived.get()
        if said is None:
            left -= 1
        else:
            yield said
    for one in reading:
        one.result()


def _runs(path: Path, span: range) -> Iterator[dict[str, Any]]:
    """What a process with the fixed hash seed says of these seeds, one after the other."""
    words = [sys.executable, *WORKER, str(path), str(span.start), str(span.stop)]
    environment = {**os.environ, HASH_SEED: FIXED}
    count = 0
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                count += 1
                yield json.loads(line[len(MARK) :])
            else:
                print(line, end="")  # the script's own words
    if count != len(span):
        raise OSError(f"the process that ran seed {span.start + count} ended without a word")


def _cut(seeds: range, workers: int) -> list[range]:
    size = -(-len(seeds) // workers)
    return [seeds[at : at + size] for at in range(0, len(seeds), size)]


# -- words ----------------------------------------------------------------------------------------


def _line(event: dict[str, Any]) -> str:
    when = f"{event['at_ms'] / 1000:9.3f}"
    return f"{when}  {event['what']:<6}  {event['node']:<4}  {event['text']}".rstrip()


def _verdict(said: dict[str, Any], path: Path, arguments: argparse.Namespace) -> str:
    lines = []
    for one in said["checks"]:
        when = f" at {one['at_ms'] / 1000:.3f} s" if one["result"] == "FAILED" else ""
        lines.append(f"{one['result']:<9}  {one['check']}{when}: {one['seen']}")
    if said["error"]:
        lines.append(f"the script failed: {said['error']}")
    colour = "green" if said["passed"] else "FAILED"
    is_virtual = said["world"] == "virtual"
    lasted = f"{said['lasted_s']:.1f} s"
    lasted += f" of virtual time in {said['took_s']:.1f} s" if is_virtual else " on processes"
    lines.append(f"seed {said['seed']}: {colour}; {lasted}; trace {said['digest']}")
    if not said["passed"]:
        world = "" if is_virtual else " --real" + " --loopback" * arguments.loopback
        lines.append(f"replay: conclave chaos run {path} --seed {said['seed']}{world}")
    return "\n".join(lines)


# -- the process ----------------------------------------------------------------------------------

MARK = "\x1echaos "  # before what is not the script's own printing


def main(words: Sequence[str]) -> None:
    """Run these seeds and print what came of each, a line each."""
    path, first, last = Path(words[0]), int(words[1]), int(words[2])
    # What nodes warn of has neither their names nor their time; the timeline has both.
    logging.getLogger("conclave").addHandler(logging.NullHandler())
    for seed in range(first, last):
        made: Run = run_virtual_scenario(load_scenario(path), seed)
        print(MARK + json.dumps(made.to_json()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
