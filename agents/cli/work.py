"""`conclave call | submit | cancel | retry`."""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import Any

from agents.cli.attached import ask_node, print_json, print_json_line, to_json
from agents.cli.voting_words import fraction
from agents.errors import TaskUnknown
from agents.messaging import DEFAULT_DEADLINE_S
from agents.net import Net
from agents.observe import printable


def run(arguments: argparse.Namespace) -> None:
    """Ask for work and print what came of it."""
    commands = {"call": _call, "submit": _submit, "cancel": _change, "retry": _change}
    commands[arguments.command](arguments)


def value_of(word: str) -> Any:
    """Return a word as JSON if it is any, and as plain text if not."""
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        return word


def _call(arguments: argparse.Namespace) -> None:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in arguments.arguments:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = value_of(value)
        else:
            args.append(value_of(word))

    deadline_s = arguments.deadline

    async def ask(net: Net) -> Any:
        return await net.call(
            arguments.capability,
            *args,
            deadline=DEFAULT_DEADLINE_S if deadline_s is None else deadline_s,
            peer=arguments.peer,
            named=kwargs,
        )

    async def follow(net: Net) -> None:
        answers = net.stream(
            arguments.capability, *args, deadline=deadline_s, peer=arguments.peer, named=kwargs
        )
        async with contextlib.aclosing(answers):
            async for value in answers:
                if arguments.json:
                    print_json_line(value)
                else:
                    text = printable(value) if isinstance(value, str) else to_json(value)
                    print(text, flush=True)

    if arguments.stream:
        ask_node(arguments, follow)
    else:
        _print(ask_node(arguments, ask), arguments.json)


def _submit(arguments: argparse.Namespace) -> None:
    payload = value_of(arguments.payload) if arguments.payload is not None else None

    async def ask(net: Net) -> dict[str, Any]:
        task = await net.submit(
            arguments.skill,
            payload,
            key=arguments.key,
            retries=arguments.retries,
            sealed_to=arguments.sealed_to,
            policy=arguments.policy,
            voters=arguments.voter,
            threshold=None if arguments.threshold is None else fraction(arguments.threshold),
            may_veto=arguments.may_veto or (),
            vote_deadline=arguments.vote_deadline,
        )
        said: dict[str, Any] = {"task": task.id, "state": task.state, "assignee": task.assignee}
        if task.decision.index:
            said["decided_by"] = f"{len(task.decision.votes)} of {len(task.decision.voters)} voters"
        if task.view is not None and task.view.vote is not None:
            said["vote"] = dict(task.view.vote)
        if arguments.wait:
            said["result"] = await task.result(timeout=arguments.timeout)
            said["state"], said["executions"] = task.state, task.executions
        return said

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
    elif arguments.wait:
        _print(said["result"], as_json=False)
    else:
        who = f", assigned to {said['assignee'][:8]}" if said["assignee"] else ""
        print(f"{said['task']} is {said['state']}{who}")
        if "vote" in said and said["state"] == "pending":
            print(
                "the voters are asked who may do it: `conclave vote` there, `conclave tasks` here"
            )


def _change(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> str:
        task_id = await _task_named(net, arguments.task)
        await (net.cancel(task_id) if arguments.command == "cancel" else net.retry(task_id))
        return (await net.task(task_id)).state

    state = ask_node(arguments, ask)
    if arguments.json:
        print_json({"task": arguments.task, "state": state})
    else:
        print(f"{arguments.task} is {state}")


async def _task_named(net: Net, wanted: str) -> str:
    """Return the whole id of a task, of which the start is enough.

    Raises:
        TaskUnknown: there is none, or more than one.
    """
    if len(wanted) == 32:
        return wanted
    said = await net.tasks(limit=1000)
    found = [t["task_id"] for t in said["tasks"] if t["task_id"].startswith(wanted)]
    if len(found) != 1:
        raise TaskUnknown(wanted)
    return str(found[0])


def _print(value: Any, as_json: bool) -> None:
    if as_json or isinstance(value, (dict, list)):
        print_json(value)
    elif value is not None:
        print(value)
