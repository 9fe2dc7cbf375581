"""Every part of the benchmarks begins: measures, the processes that they start, what these obey.

Nothing is measured here; `python -m benchmarks --rehearse` runs each part to its end.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

import benchmarks
from benchmarks.clusters import our_voters
from benchmarks.contenders import (
    Crowd,
    NotThere,
    Pair,
    blocking_crowd,
    blocking_pair,
    coalesced_crowd,
    grpc_pair,
    homes_of,
    nats_crowd,
    nats_pair,
    our_crowd,
    our_pair,
    reader_pair,
)
from benchmarks.crowds import all_up
from benchmarks.figures import registered
from benchmarks.measures import fleet, hundred, registry
from benchmarks.orders import ORDERS
from benchmarks.workers import Worker

HERE = Path(benchmarks.__file__).parent
PLAYED = ("ours", "floors", "rivals")  # packages whose modules are processes
NO_PROCESS = {"benchmarks.floors.curve", "benchmarks.floors.reader"}
TAKEN_BY_THE_PARENT = {"answer_s", "limit_s"}

Begin = Callable[[ExitStack], Sequence[Worker]]


def of_pair(pair: Callable[[ExitStack], Pair], stack: ExitStack) -> Sequence[Worker]:
    made = pair(stack)
    return made.server, made.client


def of_crowd(crowd: Callable[[ExitStack, int], Crowd], stack: ExitStack) -> Sequence[Worker]:
    made = crowd(stack, 1)
    return made.publisher, *made.subscribers


def voters(stack: ExitStack) -> Sequence[Worker]:
    return list(stack.enter_context(our_voters()).workers.values())


def at_homes(begin: Callable[[ExitStack, list[Path]], Sequence[Worker]]) -> Begin:
    return lambda stack: begin(stack, stack.enter_context(homes_of(2)))


def a_hundred(stack: ExitStack, homes: list[Path]) -> Sequence[Worker]:
    crowd = hundred.Crowd(stack, [homes[:1], homes[1:]])
    crowd.begin()
    assert len(crowd.ask("meet", limit_s=30.0, count=1, until_s=30.0)) == 2
    return crowd.workers


def a_mesh(stack: ExitStack, homes: list[Path]) -> Sequence[Worker]:
    words = ("linked", *map(str, homes))
    return (stack.enter_context(Worker("benchmarks.ours.meshes", *words)),)


BEGINNINGS: dict[str, Begin] = {
    "members": partial(of_pair, our_pair),
    "members that publish": partial(of_crowd, our_crowd),
    "voters": voters,
    "lookouts": at_homes(all_up),
    "hosts": at_homes(fleet.nodes_of),
    "registrars": at_homes(registry.peers_of),
    "hundreds": at_homes(a_hundred),
    "a mesh": at_homes(a_mesh),
    "the reader": partial(of_pair, partial(reader_pair, at_most=1)),
    "coalesced publications": partial(of_crowd, coalesced_crowd),
    "blocking calls": partial(
        of_pair, partial(blocking_pair, server="echo-server", client="echo-client")
    ),
    "blocking streams": partial(of_pair, partial(blocking_pair, server="sink", client="source")),
    "links": partial(of_pair, partial(blocking_pair, server="listener", client="links")),
    "blocking publications": partial(of_crowd, blocking_crowd),
    "gRPC": partial(of_pair, grpc_pair),
    "NATS calls": partial(of_pair, nats_pair),
    "NATS publications": partial(of_crowd, nats_crowd),
}


class Said(NamedTuple):
    """An order as the source of a measure gives it, and who may be meant."""

    where: str
    do: str
    words: frozenset[str]
    modules: frozenset[str]


def source_of(module: str) -> Path:
    return HERE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def modules_begun_by(file: Path) -> frozenset[str]:
    """The processes that a source, or what it imports of the benchmarks, has the names of."""
    seen: set[Path] = set()
    found: set[str] = set()
    ahead = [file]
    while ahead:
        source = ahead.pop()
        if source in seen or source.parent.name in PLAYED:
            continue
        seen.add(source)
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("benchmarks."):
                ahead.append(source_of(str(node.module)))
            elif isinstance(node, ast.Constant) and str(node.value).startswith("benchmarks."):
                found.add(str(node.value))
    return frozenset(found)


def said_in_sources() -> Iterator[Said]:
    for file in sorted(HERE.rglob("*.py")):
        if file.parent.name in PLAYED:
            continue
        modules = modules_begun_by(file)
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = (
                call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
            )
            texts = [a.value for a in call.args if isinstance(a, ast.Constant)]
            orders = [text for text in texts if isinstance(text, str)]
            if name in ("ask", "order", "_all", "ask_all") and orders:
                words = {word.arg for word in call.keywords if word.arg} - TAKEN_BY_THE_PARENT
                where = f"{file.name}:{call.lineno}"
                yield Said(where, orders[0], frozenset(words), modules)


@pytest.fixture(scope="module")
def taken() -> dict[tuple[str, str], set[str]]:
    """What each order of each module takes, filled by those that begin."""
    return {}


def test_every_module_of_measures_measures_something() -> None:
    known = registered()
    found = {measure.__module__ for measure in known.values()}
    there = {m.name for m in pkgutil.iter_modules([str(HERE / "measures")])}
    assert {module.rpartition(".")[2] for module in found} == there


@pytest.mark.e2e
@pytest.mark.parametrize("what", BEGINNINGS)
def test_its_processes_begin_and_say_what_they_obey(
    what: str, taken: dict[tuple[str, str], set[str]]
) -> None:
    with ExitStack() as stack:
        try:
            workers = BEGINNINGS[what](stack)
        except NotThere as error:
            pytest.skip(str(error))
        for worker in workers:
            for do, words in worker.ask(ORDERS).items():
                taken.setdefault((worker.module, do), set()).update(words)
            taken.setdefault((worker.module, ORDERS), set())


@pytest.mark.e2e
def test_whatever_is_ordered_is_obeyed_by_somebody(
    taken: dict[tuple[str, str], set[str]],
) -> None:
    """Runs behind those that begin: without them there is nothing to compare with."""
    begun = {module for module, _ in taken}
    played = {
        f"benchmarks.{kind}.{module.name}"
        for kind in PLAYED
        for module in pkgutil.iter_modules([str(HERE / kind)])
    }
    if not {m for m in played if ".ours." in m} <= begun:
        pytest.skip("not all have begun: run the whole file")
    rivals = {module for module in played if ".rivals." in module}
    assert begun | rivals | NO_PROCESS == played
    wrong = [
        said
        for said in said_in_sources()
        if not any(
            module in said.modules and do == said.do and said.words <= words
            for (module, do), words in taken.items()
        )
    ]
    assert not wrong


def test_orders_are_found_in_the_sources() -> None:
    found = {said.do for said in said_in_sources()}
    assert {"echo", "stream", "commit", "meet", "gone", "take"} <= found
