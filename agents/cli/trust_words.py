"""The words of the commands that look after trust: one function for each family.

What this module does not know: what the commands do; see the module that each one names.
"""

from __future__ import annotations

import argparse

from agents.cli.numbers import ago
from agents.cli.words import Parser, add_command, add_verb


def add_trust_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add them all."""
    _policy(commands)
    _renewal(commands)
    _audit(commands)


def _renewal(commands: argparse._SubParsersAction[Parser]) -> None:
    renew = add_command(commands, "renew", "renew", "renew this node's certificate now")
    renew.add_argument("--json", action="store_true", help="print one JSON object")


def _audit(commands: argparse._SubParsersAction[Parser]) -> None:
    audit = add_command(commands, "audit", "audit", "what happened here, by whom, and the proof")
    verbs = audit.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    show = add_verb(verbs, "show", "print the entries of an audit log")
    show.add_argument("--since", type=ago, metavar="AGO", help="such as 90s, 15m, 1h or 2d")
    show.add_argument("--kind", help="such as peer.refused, or peer for all of them")
    show.add_argument("--follow", action="store_true", help="go on, until Ctrl-C")
    show.add_argument("--peer", help="of this member: its name or id (needs the role admin)")
    verify = add_verb(verbs, "verify", "whether a log is whole; names the first bad entry")
    verify.add_argument("--file", help="one that `conclave audit export` wrote, of any node")
    verify.add_argument(
        "--offline", action="store_true", help="do not compare with the heads that others hold"
    )
    export = add_verb(verbs, "export", "write the log as JSON lines that `verify` can check")
    export.add_argument("to", metavar="FILE", help="which must not exist yet")
    _sealing(commands)


def _sealing(commands: argparse._SubParsersAction[Parser]) -> None:
    seal = add_command(commands, "seal", "sealing", "seal a file, so that only some peers read it")
    seal.add_argument(
        "--to", action="append", required=True, metavar="PEER", help="a reader; may be repeated"
    )
    unseal = add_command(commands, "unseal", "sealing", "open what was sealed for this node")
    unseal.add_argument("--once", action="store_true", help="refuse it the second time")
    for command in (seal, unseal):
        command.add_argument("file", nargs="?", default="-", help="default: standard input")
        command.add_argument(
            "--purpose", default="message", help="both sides say the same (default: message)"
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")


def _policy(commands: argparse._SubParsersAction[Parser]) -> None:
    policy = add_command(commands, "policy", "policy", "who may do what, beyond roles")
    verbs = policy.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    show = add_verb(verbs, "show", "the policies in force at this node")
    show.add_argument("--built-in", action="store_true", help="what the roles allow, as a policy")
    check = add_verb(verbs, "check", "say whether a file is a policy; no node is asked")
    check.add_argument("file", help="in TOML, as docs/policy.md describes it")
    change = add_verb(verbs, "set", "have the network decide on a policy")
    change.add_argument("file", help="in TOML, as docs/policy.md describes it")
    change.add_argument(
        "--force", action="store_true", help="also if this node could not change it again"
    )
    reset = add_verb(verbs, "reset", "have the network be without a policy")
    reset.add_argument(
        "--yes", action="store_true", help="while this node is down: note it without asking"
    )
    explain = add_verb(verbs, "explain", "say whether somebody may do something, and why")
    explain.add_argument("who", help="a living peer's name or id, or role:service")
    explain.add_argument("action", help="such as call, publish, read; see docs/policy.md")
    explain.add_argument("what", help="a capability, topic, key, lock or kind")
