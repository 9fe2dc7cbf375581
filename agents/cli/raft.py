"""`conclave raft ...`: the log, its members, and the way on when a quorum is lost for ever."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.cli.attached import ask_node, print_json
from agents.cli.places import home_of
from agents.cli.show import print_table
from agents.net import Net

ADD_VOTER_S = 70.0


def run(arguments: argparse.Namespace) -> None:
    """Do what the verb says."""
    verbs: dict[str, Callable[[argparse.Namespace], None]] = {
        "status": _status,
        "transfer": _transfer,
        "add-voter": _add_voter,
        "remove-voter": _remove_voter,
        "autopilot": _autopilot,
        "follow": _follow,
        "snapshot": _snapshot,
        "backup": _backup,
        "restore": _restore,
        "force-new-cluster": _force_new_cluster,
        "rejoin": _rejoin,
    }
    verbs[arguments.verb](arguments)


# -- on a node that is up --------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.raft.status()

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    leader = said["leader_name"] or f"none: NoQuorum: {said['why_no_leader']}"
    print(f"leader      {leader}")
    print(f"log         {said['cluster'][:8]}, generation {said['generation']}")
    print(f"voters      {len(said['voters'])}, and {len(said['learners'])} that only listen")
    if said["outgoing"]:
        print("change      under way: both the old and the new voters must agree")
    if said["autopilot"] is not None:
        print(f"autopilot   {said['autopilot']}")
    print()
    print_table(
        ("NAME", "PART", "ROLE", "TERM", "COMMIT", "APPLIED", "LAST", "LOG FROM", "SNAPSHOT"),
        [
            (
                row["name"],
                "voter" if row["votes"] else "learner",
                row["role"] or "silent",
                *(
                    str(row.get(key, ""))
                    for key in ("term", "commit", "applied", "last_index", "log_from", "snapshot")
                ),
            )
            for row in said["members"]
        ],
    )


def _transfer(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> str | None:
        return await net.raft.transfer(arguments.peer)

    leader = ask_node(arguments, ask)
    _say(arguments, {"leader": leader}, f"{leader or 'another voter'} leads")


def _add_voter(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[Any]:
        return await net.raft.add_voter(arguments.peer)

    voters, learners = ask_node(arguments, ask)
    said = {"voters": voters, "learners": learners}
    _say(arguments, said, f"{arguments.peer} votes; {len(voters)} voters; the autopilot is off")


def _remove_voter(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[Any]:
        return await net.raft.remove_voter(arguments.peer)

    voters, learners = ask_node(arguments, ask)
    said = {"voters": voters, "learners": learners}
    text = f"{arguments.peer} votes no more; {len(voters)} voters; the autopilot is off"
    _say(arguments, said, text)


def _autopilot(arguments: argparse.Namespace) -> None:
    is_on = arguments.switch == "on"

    async def ask(net: Net) -> None:
        await net.raft.autopilot(on=is_on)

    ask_node(arguments, ask)
    _say(arguments, {"autopilot": is_on}, f"the autopilot is {arguments.switch}")


def _follow(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> int:
        return await net.raft.follow(arguments.peer)

    generation = ask_node(arguments, ask)
    text = (
        f"this node follows the log of {arguments.peer}, generation {generation}; others will too"
    )
    _say(arguments, {"generation": generation}, text)


def _snapshot(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.raft.snapshot()

    said = ask_node(arguments, ask)
    _say(arguments, said, f"snapshot up to entry {said['index']}: {said['path']}")


def _backup(arguments: argparse.Namespace) -> None:
    path = Path(arguments.file).absolute()

    async def ask(net: Net) -> dict[str, Any]:
        return await net.raft.backup(str(path))

    said = ask_node(arguments, ask)
    text = f"everything up to entry {said['index']} is in {said['path']} ({said['bytes']} bytes)"
    _say(arguments, said, text)


# -- on a node that is down ------------------------------------------------------------------------


def _force_new_cluster(arguments: argparse.Namespace) -> None:
    from agents.disaster import force_new_cluster

    _begin_again(arguments, force_new_cluster)


def _restore(arguments: argparse.Namespace) -> None:
    from agents.disaster import restore

    _begin_again(arguments, lambda keystore: restore(keystore, Path(arguments.file)))


def _begin_again(arguments: argparse.Namespace, act: Callable[[Any], Any]) -> None:
    from agents.auditing_offline import note_disaster, open_noted
    from agents.passphrases import passphrase

    _ask_first(
        arguments,
        "This makes a new log whose only voter is this node. What the old voters decided and this"
        " one does not know is lost. Do it only when a majority of them will never come back.",
    )
    keystore = open_noted(home_of(arguments), passphrase(home_of(arguments)))
    with keystore.lock():
        note_disaster(keystore, arguments.verb)
        begun = act(keystore)
    said = {
        "generation": begun.cluster.generation,
        "cluster": begun.cluster.cluster_id,
        "index": begun.index,
        "tasks": begun.tasks,
        "keys": begun.keys,
        "put_aside": str(begun.put_aside) if begun.put_aside is not None else None,
    }
    lines = [
        f"a new log, generation {begun.cluster.generation}, begins behind entry {begun.index}:",
        f"{begun.tasks} tasks and {begun.keys} keys are in it",
    ]
    if begun.put_aside is not None:
        lines.append(f"the old files are in {begun.put_aside}")
    lines.append("next: `conclave up` here; `conclave raft rejoin` on every other old voter, bring")
    lines.append(
        "them up, and `conclave raft add-voter NAME` for each. Where this node neither voted"
    )
    lines.append("nor is an administrator's: `conclave raft follow THIS-NODE` on one that is, once")
    _say(arguments, said, "\n".join(lines))


def _rejoin(arguments: argparse.Namespace) -> None:
    from agents.auditing_offline import note_disaster, open_noted
    from agents.disaster import rejoin
    from agents.passphrases import passphrase

    _ask_first(
        arguments,
        "This node leaves the log that it follows. Do it only when the others have begun again"
        " without it.",
    )
    keystore = open_noted(home_of(arguments), passphrase(home_of(arguments)))
    with keystore.lock():
        note_disaster(keystore, arguments.verb)
        aside = rejoin(keystore)
    where = f"; its files are in {aside}" if aside is not None else ""
    text = f"this node is no member any more{where}; bring it up, and add it as a voter if wanted"
    _say(arguments, {"put_aside": str(aside) if aside is not None else None}, text)


def _ask_first(arguments: argparse.Namespace, text: str) -> None:
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise SystemExit("nothing was done: say --yes, for nobody can be asked here")
    print(text)
    if input("Type yes to go on: ").strip() != "yes":
        raise SystemExit("nothing was done")


def _say(arguments: argparse.Namespace, said: Any, text: str) -> None:
    if arguments.json:
        print_json(said)
    else:
        print(text)
