"""Running one question against the node on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from agents.cli.places import home_of
from agents.connecting import attached
from agents.net import Net
from agents.running import run_loop

T = TypeVar("T")


def ask_node(arguments: argparse.Namespace, question: Callable[[Net], Awaitable[T]]) -> T:
    """Attach to the node of this directory, ask, and let go.

    Raises:
        NodeNotUp: no node runs there.
    """
    home = home_of(arguments)

    async def main() -> T:
        async with attached(home) as net:
            return await question(net)

    return run_loop(main())


def print_json(value: Any) -> None:
    """Print plain data as JSON; bytes become text where they are text, and hex where not."""
    print(_dumped(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print plain data as one line of JSON, at once: it is one of many."""
    print(to_json(value), flush=True)


def to_json(value: Any) -> str:
    """Return plain data as one line of JSON."""
    return _dumped(value, indent=None)


def _dumped(value: Any, indent: int | None) -> str:
    text = json.dumps(value, default=_as_json, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # What could steer a terminal means the same as an escape.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _as_json(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)
