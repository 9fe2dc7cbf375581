"""`conclave status | peers | agents | tasks`: what this node knows, as tables or JSON."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from agents.cli.attached import ask_node, print_json
from agents.cli.dates import day_of
from agents.net import Net
from agents.observe import one_line


def run(arguments: argparse.Namespace) -> None:
    """Ask the node and print its answer."""
    questions = {"status": _status, "peers": _peers, "agents": _agents, "tasks": _tasks}
    questions[arguments.command](arguments)


def _status(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.status()

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    print(f"node      {said['name']} ({said['peer'][:8]}) in {said['network']}")
    leader = said["leader_name"] or f"none: NoQuorum: {said['why_no_leader']}"
    print(f"leader    {leader}" + (f", term {said['term']}" if said["leader"] else ""))
    print(
        f"role      {said['role']}, {len(said['voters'])} of {said['expected_voters']} voters named"
    )
    print(f"peers     {said['peers_alive']} alive besides this one")
    print(f"agents    {', '.join(said['agents']) or 'none'}")
    print(f"tasks     {said['leases']} held here, {said['running']} handlers running")
    papers = f"good until {day_of(said['certificate_until_ms'])}, "
    if said["why_not_renewed"] is None:
        papers += f"renewed on {day_of(said['certificate_renewed_ms'])}"
    else:
        papers += "and the last renewal failed: see `conclave doctor`"
    print(f"papers    {papers}")
    print(f"door      port {said['door_port']}")


def _peers(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[dict[str, Any]]:
        return await net.peers()

    rows = ask_node(arguments, ask)
    if arguments.json:
        print_json(rows)
        return
    print_table(
        ("NAME", "ID", "STATE", "PART", "SINCE", "ADDRESS"),
        [
            (
                row["name"] + (" (this node)" if row["is_self"] else ""),
                row["peer"][:8],
                row["state"],
                "leader" if row["is_leader"] else "voter" if row["is_voter"] else "client",
                f"{row['since_s']:g} s" if row["since_s"] is not None else "",
                row["address"],
            )
            for row in rows
        ],
    )


def _agents(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[dict[str, Any]]:
        return await net.agents()

    rows = ask_node(arguments, ask)
    if arguments.json:
        print_json(rows)
        return
    lines = agent_lines(rows)
    print_table(("AGENT", "NODE", "HEALTH", "CAPACITY", "NAMESPACE", "KIND", "OFFERS", ""), lines)
    for row in rows:
        if row["reason"]:
            print(one_line(f"{row['agent']} on {row['node']} is {row['health']}: {row['reason']}"))


def agent_lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A line for each capability of each agent; who serves, or stands by, is told beside it."""
    nothing = {"namespace": "", "kind": "-", "usage": "nothing now"}
    return [
        (
            row["agent"],
            row["node"],
            row["health"],
            str(row["capacity"]),
            offer["namespace"] or "-",
            offer["kind"],
            offer["usage"],
            "; ".join(text for text in (row["note"], offer.get("summary")) if text),
        )
        for row in rows
        for offer in row["offers"] or [nothing]
    ]


def _vote_in_words(vote: dict[str, Any]) -> str:
    if "question" not in vote:
        return f"waits for a worker to vote on; {vote['needed']} of {vote['total']} must approve"
    return (
        f"vote {vote['question'][:12]} on {vote['worker'][:8]} is {vote['status']}; "
        f"{vote['needed']} of {vote['total']} must approve"
    )


def _tasks(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.tasks(
            state=arguments.state, job=arguments.job, limit=max(0, arguments.limit)
        )

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    counts = ", ".join(f"{n} {state}" for state, n in said["counts"].items() if n) or "none yet"
    print(f"tasks: {counts}")
    for skill, count in said["waiting"].items():
        print(f"waiting for an agent that offers {one_line(skill)}: {count}")
    for skill, count in said.get("to_vote", {}).items():
        print(f"waiting for a vote on who does {one_line(skill)}: {count}; see `conclave vote`")
    rows = []
    for task in said["tasks"]:
        error = task["error"][0] + ": " + task["error"][1] if task["error"] else ""
        if "vote" in task and task["state"] == "pending":
            error = _vote_in_words(task["vote"])
        holder = (task["peer"] or (task["history"][-1][0] if task["history"] else ""))[:8]
        rows.append(
            (
                task["task_id"][:12],
                task["skill"],
                task["state"],
                holder,
                str(task["executions"]),
                task["key"] or "",
                error[: 60 if task["state"] != "parked" else 200],
            )
        )
    if rows:
        print_table(("TASK", "SKILL", "STATE", "PEER", "RUNS", "KEY", "ERROR"), rows)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns that line up, without colours or borders: they are for pipes too.

    Others chose some of the words: agents' names, usages, errors.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())
