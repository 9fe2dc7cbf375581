"""`conclave pub | tail`: saying something on a topic, and hearing what is said.

What this module does not know: how the node publishes and subscribes.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agents.cli.attached import ask_node, print_json, print_json_line, to_json
from agents.cli.standard_input import lines_of_stdin
from agents.cli.work import value_of
from agents.net import Net
from agents.observe import one_line
from agents.publishing import Message

FROM_STDIN = "-"


def run(arguments: argparse.Namespace) -> None:
    """Publish, or print what is published."""
    commands = {"pub": _pub, "tail": _tail}
    commands[arguments.command](arguments)


def _pub(arguments: argparse.Namespace) -> None:
    topic, interval_s = arguments.topic, arguments.interval
    readers: dict[str, Any] = {
        "only_roles": arguments.only_role or (),
        "only_peers": arguments.only_peer or (),
        "sealed": arguments.sealed,
    }

    async def ask(net: Net) -> dict[str, Any]:
        if arguments.wait_subscribers:
            count = arguments.wait_subscribers
            await net.wait_subscribers(topic, count, timeout=arguments.timeout)
        published, sequence = 0, None
        async for value in _values(arguments):
            if published and interval_s:
                await asyncio.sleep(interval_s)
            sequence = await net.publish(topic, value, **readers)
            published += 1
        return {"topic": topic, "published": published, "last_sequence": sequence}

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)


async def _values(arguments: argparse.Namespace) -> AsyncIterator[Any]:
    """What is to be published: the value so many times, or so many lines of stdin."""
    if arguments.value != FROM_STDIN:
        for _ in range(1 if arguments.count is None else arguments.count):
            yield value_of(arguments.value)
        return
    left = arguments.count
    if left == 0:
        return
    async for line in lines_of_stdin():
        yield value_of(line)
        if left is not None:
            left -= 1
            if left == 0:
                return


def _tail(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> None:
        left = arguments.count
        if left == 0:
            return
        async with net.subscribe(arguments.topic, replay=arguments.replay) as messages:
            async for message in messages:
                if arguments.json:
                    print_json_line(message._asdict())
                else:
                    print(line_of(message), flush=True)
                if left is not None:
                    left -= 1
                    if left == 0:
                        return

    ask_node(arguments, ask)


def line_of(message: Message) -> str:
    """Return a message as a person reads it; others chose the topic, the name and the value."""
    value = message.value
    shown = value if isinstance(value, str) else to_json(value)
    lost = f" ({message.gap} lost)" if message.gap else ""
    return one_line(f"{message.topic} {message.sender_name} #{message.sequence}{lost}: {shown}")
