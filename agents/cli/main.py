"""`conclave`: the commands and their arguments.

Only argparse is imported here; a command's own module is imported when it runs, so that
`conclave --version` and `--help` answer at once.

What this module does not know: what the commands do.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from agents.cli.chaos_words import add_chaos
from agents.cli.numbers import count, index, minutes, port, seconds
from agents.cli.trust_words import add_root_keys, add_trust_commands
from agents.cli.voting_words import add_voting
from agents.cli.words import EXIT_USAGE, Parser, add_command

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = Parser(
        prog="conclave",
        description="A network of agent processes on a LAN, without a broker or a server.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _membership(commands)
    _looking(commands)
    _working(commands)
    _messaging(commands)
    _store(commands)
    _raft(commands)
    _deciding(commands)
    add_trust_commands(commands)
    add_chaos(commands)
    _demo(commands)
    return top


def _membership(commands: argparse._SubParsersAction[Parser]) -> None:
    init = add_command(
        commands, "init", "init", "make a network, with this node as its first member"
    )
    init.add_argument("network", nargs="?", help="its name, such as lab")
    init.add_argument("--name", help="this node's name (default: the host's name)")
    init.add_argument(
        "--voters",
        type=int,
        default=3,
        choices=(1, 3, 5, 7),
        help="how many nodes to wait for before they elect a leader (default: 3)",
    )
    add_root_keys(init)
    init.add_argument("--out", metavar="FILE", help="for the founding that the root keys sign")
    init.add_argument("--finish", metavar="FILE", help="the founding, signed: make the network")
    init.add_argument("--json", action="store_true", help="print one JSON object")
    invite = add_command(
        commands, "invite", "invite", "print a ticket with which one node may join"
    )
    invite.add_argument("--minutes", type=minutes, default=15, help="how long it is valid")
    invite.add_argument(
        "--address",
        action="append",
        metavar="HOST:PORT",
        help="where the newcomer finds this node's door (default: all usable addresses)",
    )
    invite.add_argument(
        "--role", action="append", help="of the newcomer; may be repeated (default: service)"
    )
    invite.add_argument(
        "--namespace", action="append", metavar="NAME", help="only in this one; may be repeated"
    )
    invite.add_argument("--json", action="store_true", help="print one JSON object")
    join = add_command(commands, "join", "join", "join the network that a ticket is of")
    join.add_argument(
        "ticket", help="the line that `conclave invite` printed; - reads it from stdin"
    )
    join.add_argument("--name", help="this node's name (default: the host's name)")
    join.add_argument(
        "--wait",
        type=seconds,
        default=60,
        metavar="S",
        help="how long to wait for the inviting node",
    )
    join.add_argument("--json", action="store_true", help="print one JSON object")
    up = add_command(commands, "up", "up", "bring up a node with agents, until Ctrl-C")
    up.add_argument(
        "agents", nargs="*", metavar="AGENT", help="MODULE or FILE, with :OBJECT or not"
    )
    up.add_argument("--host", help="the address to bind (default: all)")
    up.add_argument("--port", type=port, help="of the door; the next four are used too")
    up.add_argument(
        "--seed", action="append", metavar="HOST:PORT", help="a door to knock at; may be repeated"
    )
    up.add_argument(
        "--interface", action="append", metavar="NAME", help="use only this one; may be repeated"
    )
    up.add_argument(
        "--no-mdns", action="store_true", help="neither announce nor listen by multicast"
    )
    up.add_argument("--metrics", type=port, metavar="PORT", help="serve Prometheus metrics there")
    up.add_argument("--metrics-host", metavar="HOST", help="at this address (default: loopback)")
    up.add_argument(
        "--standby", action="store_true", help="one node serves each agent, the others take over"
    )
    up.add_argument(
        "--restart",
        type=count,
        nargs="?",
        const=5,
        metavar="N",
        help="begin again when it ends badly, N times in ten minutes (default: 5); after AGENT",
    )
    up.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    up.add_argument("--log-style", choices=("text", "json"))


def _looking(commands: argparse._SubParsersAction[Parser]) -> None:
    for name, text in (
        ("status", "who this node is, who leads, how the tasks stand"),
        ("peers", "the peers that this node knows"),
        ("agents", "the agents of all living peers and what they offer"),
    ):
        add_command(commands, name, "show", text).add_argument(
            "--json", action="store_true", help="print JSON"
        )
    tasks = add_command(commands, "tasks", "show", "the tasks in the ledger")
    tasks.add_argument("--json", action="store_true", help="print JSON")
    tasks.add_argument(
        "--state", choices=("pending", "assigned", "done", "failed", "parked", "cancelled")
    )
    tasks.add_argument("--job", help="only those of this job")
    tasks.add_argument("--limit", type=count, default=20, help="how many at most (default: 20)")
    top = add_command(
        commands, "top", "top", "what this node does: peers, calls, topics, streams, live"
    )
    top.add_argument("--once", action="store_true", help="print it once, plainly")
    top.add_argument(
        "--interval", type=seconds, default=1, metavar="S", help="seconds between two looks"
    )
    top.add_argument("--json", action="store_true", help="print one JSON object")
    bench = add_command(
        commands, "bench", "bench", "how fast the way to another node is; loads both"
    )
    bench.add_argument("peer", nargs="?", help="its name or id (default: the first by name)")
    bench.add_argument(
        "--seconds", type=seconds, default=2, metavar="S", help="for each of five (default: 2)"
    )
    bench.add_argument("--json", action="store_true", help="print one JSON object last")
    doctor = add_command(commands, "doctor", "doctor", "what is wrong, in words, and what to do")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument(
        "--network", action="store_true", help="try the way to each peer and back, too"
    )


def _working(commands: argparse._SubParsersAction[Parser]) -> None:
    call = add_command(commands, "call", "work", "ask whoever offers a capability")
    call.add_argument("capability", help="such as math.add")
    call.add_argument(
        "arguments", nargs="*", help="JSON values, or plain words; NAME=VALUE by name"
    )
    call.add_argument(
        "--stream", action="store_true", help="print each answer of a stream as it comes"
    )
    call.add_argument(
        "--deadline", type=seconds, metavar="S", help="seconds (default: 10; none with --stream)"
    )
    call.add_argument("--peer", help="ask this one: its name, its id, or the start of its id")
    call.add_argument(
        "--json", action="store_true", help="print the answer as JSON; a stream's, a line each"
    )
    submit = add_command(commands, "submit", "work", "put a task into the ledger")
    submit.add_argument("skill", help="such as survey.file")
    submit.add_argument("payload", nargs="?", help="a JSON value, or a plain word")
    submit.add_argument("--key", help="the same skill and key again is the same task")
    submit.add_argument("--retries", type=count, default=3, help="how often to try again")
    add_voting(submit)
    submit.add_argument("--sealed-to", metavar="PEER", help="it alone does it, and can read it")
    submit.add_argument("--wait", action="store_true", help="wait for the result and print it")
    submit.add_argument("--timeout", type=seconds, default=300, metavar="S", help="for --wait")
    submit.add_argument("--json", action="store_true", help="print one JSON object")
    for name, text in (
        ("cancel", "cancel a task that has not ended"),
        ("retry", "give a parked task its attempts back"),
    ):
        command = add_command(commands, name, "work", text)
        command.add_argument("task", help="the task's id, or the start of it")
        command.add_argument("--json", action="store_true", help="print one JSON object")
    run = add_command(commands, "run", "run", "run the job of a file; its own options follow")
    run.add_argument("agent", metavar="AGENT", help="MODULE or FILE, with :OBJECT or not")
    run.add_argument("--json", action="store_true", help="print one JSON object last")


def _messaging(commands: argparse._SubParsersAction[Parser]) -> None:
    pub = add_command(commands, "pub", "messaging", "publish a value on a topic")
    pub.add_argument("topic", help="such as news/today")
    pub.add_argument("value", help="a JSON value, or a plain word; - publishes each line of stdin")
    pub.add_argument("--count", type=count, metavar="N", help="so often; with -, so many lines")
    pub.add_argument(
        "--interval", type=seconds, default=0, metavar="S", help="seconds between them"
    )
    pub.add_argument(
        "--wait-subscribers", type=count, default=0, metavar="N", help="until so many listen"
    )
    pub.add_argument(
        "--timeout", type=seconds, default=10, metavar="S", help="for them (default: 10)"
    )
    pub.add_argument(
        "--only-role", action="append", metavar="ROLE", help="only for such peers; may be repeated"
    )
    pub.add_argument(
        "--only-peer", action="append", metavar="PEER", help="only for this one; may be repeated"
    )
    pub.add_argument("--sealed", action="store_true", help="seal it for those, where it is kept")
    pub.add_argument("--json", action="store_true", help="print one JSON object")
    tail = add_command(
        commands, "tail", "messaging", "print what is published on a topic, until Ctrl-C"
    )
    tail.add_argument("topic", help="such as news/today, or news/ for everything below it")
    tail.add_argument(
        "--replay", type=count, default=0, metavar="N", help="begin with so many that were before"
    )
    tail.add_argument("--count", type=count, metavar="N", help="end after so many")
    tail.add_argument("--json", action="store_true", help="print one JSON object a line")


def _store(commands: argparse._SubParsersAction[Parser]) -> None:
    kv = add_command(commands, "kv", "kv", "keys of the replicated store")
    verbs = kv.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)

    def verb(name: str, text: str, key: str = "such as config/model") -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument("--home", default=argparse.SUPPRESS, help="the node's directory")
        added.add_argument("--json", action="store_true", help="print JSON")
        if name in ("list", "watch"):
            added.add_argument("prefix", nargs="?", default="", help="only keys that begin so")
        else:
            added.add_argument("key", help=key)
        if name in ("get", "list"):
            added.add_argument("--stale", action="store_true", help="any member's word will do")
        if name in ("put", "cas"):
            added.add_argument("value", help="a JSON value, or a plain word")
            added.add_argument(
                "--ttl", type=seconds, metavar="S", help="remove it after so many seconds"
            )
        return added

    verb("get", "print a key's value; status 1 when it is absent")
    verb("put", "set a key")
    cas = verb("cas", "set a key if it is as expected; status 1 when it is not")
    expected = cas.add_mutually_exclusive_group(required=True)
    expected.add_argument(
        "--version", dest="if_version", type=index, metavar="N", help="it has this version"
    )
    expected.add_argument("--expect", metavar="VALUE", help="it has this value")
    expected.add_argument("--absent", action="store_true", help="there is none")
    delete = verb("delete", "remove a key; status 1 when it is absent")
    delete.add_argument(
        "--version", dest="if_version", type=index, metavar="N", help="if it has this version"
    )
    verb("list", "print keys and their values")
    watch = verb("watch", "print every change, until Ctrl-C")
    watch.add_argument("--since", type=index, metavar="N", help="go on behind this `resume`")
    watch.add_argument("--listing", action="store_true", help="begin with what is there")
    watch.add_argument("--count", type=count, metavar="N", help="end after so many changes")
    lock = add_command(
        commands, "lock", "lock", "run a command while holding a lock of the network"
    )
    lock.add_argument("name", help="such as printer")
    lock.add_argument("words", nargs="+", metavar="COMMAND", help="after --")
    lock.add_argument("--lease", type=seconds, default=10, metavar="S", help="(default: 10)")
    lock.add_argument("--wait", type=seconds, metavar="S", help="for the lock (default: for ever)")
    lock.add_argument(
        "--grace", type=seconds, default=5, metavar="S", help="between TERM and KILL (default: 5)"
    )


def _raft(commands: argparse._SubParsersAction[Parser]) -> None:
    raft = add_command(commands, "raft", "raft", "the log, its members, backups and disasters")
    verbs = raft.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)

    def verb(name: str, text: str, *, peer: str | None = None) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument("--home", default=argparse.SUPPRESS, help="the node's directory")
        added.add_argument("--json", action="store_true", help="print one JSON object")
        if peer is not None:
            added.add_argument("peer", nargs="?" if "default" in peer else None, help=peer)
        return added

    verb("status", "who votes, who leads, and how far every member is")
    verb("transfer", "hand leadership over", peer="to this voter (default: the best)")
    verb("add-voter", "let a peer listen, and vote once it has caught up", peer="its name or id")
    verb("remove-voter", "let a peer vote and listen no more", peer="its name or id")
    verb("follow", "say that a peer's log is the one that was begun again", peer="its name or id")
    auto = verb("autopilot", "whether dead voters are replaced by spare nodes")
    auto.add_argument("switch", choices=("on", "off"), help="changes by hand switch it off")
    verb("snapshot", "write this member's state to a file, and let the log begin behind it")
    backup = verb("backup", "write this member's state to a file that `restore` takes")
    backup.add_argument("file", help="which must not exist yet")
    for name, text in (
        ("restore", "begin again from a backup, as the only voter; this node must be down"),
        ("force-new-cluster", "begin again from this node's log, as the only voter; it is down"),
        ("rejoin", "put this node's log aside, to follow one that was begun again"),
    ):
        added = verb(name, text)
        added.add_argument("--yes", action="store_true", help="do not ask")
        if name == "restore":
            added.add_argument("file", help="what `conclave raft backup` wrote")


def _deciding(commands: argparse._SubParsersAction[Parser]) -> None:
    decide = add_command(commands, "decide", "deciding", "put a question to the voters and wait")
    decide.add_argument("question", help="what they approve or reject")
    decide.add_argument("--subject", metavar="FILE|TEXT", help="what it is about; votes sign it")
    decide.add_argument("--kind", default="", help="which agents' judges answer it; else people")
    decide.add_argument(
        "--voter", action="append", metavar="NAME", help="default: the voters of the log"
    )
    decide.add_argument("--may-veto", action="append", metavar="NAME", help="can stop it alone")
    decide.add_argument(
        "--threshold", default="2/3", metavar="N/M", help="to be exceeded (default: 2/3)"
    )
    decide.add_argument("--deadline", type=seconds, default=30, metavar="S", help="default: 30")
    decide.add_argument("--key", help="asked again with the same key it is the same decision")
    decide.add_argument("--save", metavar="FILE", help="for the certificate; .json makes it text")
    vote = add_command(commands, "vote", "deciding", "list open questions, or vote on one")
    vote.add_argument("id", nargs="?", help="of the decision, or its start")
    vote.add_argument("choice", nargs="?", choices=("approve", "reject", "abstain", "veto"))
    vote.add_argument("--reason", default="", help="which everybody can read")
    vote.add_argument("--all", action="store_true", help="list those that have ended too")
    check = add_command(commands, "verify-certificate", "deciding", "check a certificate, offline")
    check.add_argument("file", help="as `conclave decide --save` wrote it")
    check.add_argument("--roster", metavar="HOME", help="its voters must be those of this network")
    for command in (decide, vote, check):
        command.add_argument("--json", action="store_true", help="print JSON")


def _demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = add_command(
        commands, "demo", "demo", "five agent processes survey a source tree; two are killed"
    )
    demo.add_argument("--path", help="the tree (default: this Python's standard library)")
    demo.add_argument("--agents", type=int, default=5, choices=range(4, 10), metavar="N")
    demo.add_argument("--json", action="store_true", help="print one JSON object last")
    demo.add_argument("--keep", action="store_true", help="keep the nodes' directories")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    _open_standard_files()
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        from importlib.metadata import version

        print(f"conclave {version('conclave-mesh')}")
        return 0
    arguments = _parsed(words)
    if arguments.version:
        return main(["--version"])
    if arguments.command is None:
        parser().print_help()
        return EXIT_USAGE
    try:
        return _guarded(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parsed(words: list[str]) -> argparse.Namespace:
    """What is to be done. The parser, which is half a MB, ends here: `up` goes on for long."""
    top = parser()
    arguments, rest = top.parse_known_args(words)
    if rest and arguments.command not in (None, "run"):
        top.error(f"unrecognised arguments: {' '.join(rest)}")
    arguments.rest, arguments.argv = rest, words
    return arguments


def _open_standard_files() -> None:
    """Put /dev/null where a standard file is closed, so that no socket gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _guarded(arguments: argparse.Namespace) -> int:
    """Run a command; what is somebody's fault is one line, and no traceback."""
    from agents.running import EXPECTED, told

    try:
        module = importlib.import_module(arguments.module)
        status = int(module.run(arguments) or 0)
        print(end="", flush=True)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except EXPECTED as error:
        print(told(error), file=sys.stderr)
        return EXIT_ERROR
    return status
