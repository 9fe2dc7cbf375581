"""The words of the commands that look after trust: one function for each family.

What this module does not know: what the commands do; see the module that each one names.
"""

from __future__ import annotations

import argparse

from agents.cli.numbers import ago, count, index, minutes
from agents.cli.words import Parser, add_command, add_verb


def add_trust_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add them all."""
    _policy(commands)
    _renewal(commands)
    _revocation(commands)
    _audit(commands)
    _sealing(commands)
    _root(commands)
    _issuer(commands)
    _keys(commands)
    _token(commands)
    _clusters(commands)


def _clusters(commands: argparse._SubParsersAction[Parser]) -> None:
    some = add_command(commands, "clusters", "clusters", "the clusters there are, and who leads")
    some.add_argument("--watch", action="store_true", help="go on with what changes, until Ctrl-C")
    some.add_argument("--count", type=count, metavar="N", help="with --watch: end after so many")
    some.add_argument("--json", action="store_true", help="print JSON; with --watch a line each")
    one = add_command(commands, "cluster", "clusters", "one cluster: who is in it, and why")
    verbs = one.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    show = add_verb(verbs, "show", "who is in it, who could be, and why others cannot")
    show.add_argument("name", help="as `conclave clusters` lists it")


def _renewal(commands: argparse._SubParsersAction[Parser]) -> None:
    renew = add_command(commands, "renew", "renew", "renew this node's certificate now")
    renew.add_argument("--json", action="store_true", help="print one JSON object")


def _revocation(commands: argparse._SubParsersAction[Parser]) -> None:
    revoke = add_command(commands, "revoke", "revoke", "take back certificates, everywhere at once")
    revoke.add_argument("target", nargs="?", help="a member's name or id, or a serial")
    revoke.add_argument("--all", action="store_true", help="whatever was issued before a time")
    revoke.add_argument(
        "--issued-before", metavar="TIME", help="now, 2h (ago), or 2026-11-21T13:05 (UTC)"
    )
    revoke.add_argument("--reason", default="", help="for people; up to 40 characters")
    revoke.add_argument("--yes", action="store_true", help="do not ask")
    revoke.add_argument(
        "--root-key", action="append", metavar="FILE", help="sign the root's list with it, offline"
    )
    revoke.add_argument("--list", metavar="FILE", help="with --root-key: the list, old and new")
    revoke.add_argument("--load", metavar="FILE", help="put a list in force that was signed so")
    shown = add_command(commands, "revocations", "revoke", "what was revoked, by whom, how fresh")
    for command in (revoke, shown):
        command.add_argument("--json", action="store_true", help="print JSON")


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


def _keys(commands: argparse._SubParsersAction[Parser]) -> None:
    keys = add_command(commands, "keys", "keys", "the keys of this node")
    verbs = keys.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    add_verb(verbs, "rotate", "change the key that encrypts its connections; nothing is cut")
    add_verb(verbs, "show", "which keys lie here; needs no passphrase and shows no secret")
    change = add_verb(verbs, "change-passphrase", "another one for all key files; node is down")
    new = change.add_mutually_exclusive_group()
    new.add_argument("--new-file", metavar="FILE", help="that holds it (default: ask)")
    new.add_argument("--none", action="store_true", help="leave the keys open, without one")
    change.add_argument("--yes", action="store_true", help="do not ask, with --none")
    backup = add_verb(verbs, "backup", "write keys and papers into a file, sealed")
    backup.add_argument("file", help="which must not exist yet")
    how = backup.add_mutually_exclusive_group()
    how.add_argument("--to", metavar="KEY", help="seal it for a key that `backup-key` made")
    make = add_verb(verbs, "backup-key", "make a key that backups are sealed for")
    make.add_argument("file", help="for its secret half; keep it where no node runs")
    make.add_argument("--no-passphrase", action="store_true", help="leave that file open")
    restore = add_verb(verbs, "restore", "put a backup into an empty home")
    restore.add_argument("file", help="that `conclave keys backup` wrote")
    restore.add_argument("--key", metavar="FILE", help="that `backup-key` made, if it is for one")
    for verb in (how, make, restore):
        verb.add_argument(
            "--passphrase-file", metavar="FILE", help="that holds the passphrase (default: ask)"
        )


def _token(commands: argparse._SubParsersAction[Parser]) -> None:
    token = add_command(commands, "token", "token", "session tokens for callers outside")
    verbs = token.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    issue = add_verb(verbs, "issue", "print a token that lets its bearer act within a scope")
    issue.add_argument("--minutes", type=minutes, default=10, help="at most 15 (default: 10)")
    issue.add_argument(
        "--audience", metavar="PEER|network", help="where it is taken (default: at this node)"
    )
    show = add_verb(verbs, "show", "say what a token is for, or why it is refused here")
    show.add_argument("file", nargs="?", default="-", help="default: standard input")
    revoke = add_verb(verbs, "revoke", "have every member refuse a token")
    revoke.add_argument("jti", nargs="?", help="of the token, as `show` prints it")
    revoke.add_argument("--client", metavar="NAME", help="or all tokens of this client")
    client = verbs.add_parser("client", help="who outside may ask for tokens")
    whats = client.add_subparsers(dest="what", metavar="VERB", title="verbs", required=True)
    add = add_verb(whats, "add", "register a client, by its public key")
    add.add_argument("name", help="it calls itself client:NAME")
    add.add_argument("--key", required=True, help="Ed25519, in base64url or hex")
    add.add_argument("--namespace", action="append", metavar="NAME", help="may be repeated")
    for verb in (issue, add):
        verb.add_argument(
            "--scope",
            action="append",
            required=True,
            metavar="ACTION:WHAT",
            help="such as call:math.*; may be repeated",
        )
        verb.add_argument("--roles", metavar="ROLES", help="with commas (default: service)")
    add_verb(whats, "list", "the clients, and what they may have")
    remove = add_verb(whats, "remove", "forget a client, and refuse its tokens")
    remove.add_argument("name")


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


def add_root_keys(command: argparse.ArgumentParser) -> None:
    """Add the words that say which keys a root is made of."""
    command.add_argument(
        "--root-key",
        action="append",
        metavar="KEY",
        help="a public key of the root, as `conclave root key` printed it; 2 to 5",
    )
    command.add_argument(
        "--root-quorum", type=int, metavar="N", help="how many of these keys must sign"
    )


def _rights(command: argparse.ArgumentParser) -> None:
    command.add_argument("--roles", help="that it may give, such as service,manager")
    command.add_argument(
        "--namespace", action="append", metavar="NAME", help="that it may give; may be repeated"
    )


def _root(commands: argparse._SubParsersAction[Parser]) -> None:
    root = add_command(commands, "root", "root", "the network's root keys: what is done offline")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    key = add_verb(verbs, "key", "make a key of the root, sealed with a passphrase")
    key.add_argument("file", help="which must not exist yet")
    key.add_argument("--no-passphrase", action="store_true", help="leave it open")
    show = add_verb(verbs, "show", "the roots that this node knows, or what a paper says")
    show.add_argument("file", nargs="?", help="a request, rotation or founding")
    show.add_argument("--save", metavar="FILE", help="write this node's roots, for `rotate`")
    sign = add_verb(verbs, "sign", "read what a paper says, and sign it")
    sign.add_argument("file", help="of `issuer request`, `root rotate` or `init --root-key`")
    sign.add_argument(
        "--key", action="append", required=True, metavar="FILE", help="a root key; may be repeated"
    )
    sign.add_argument("--roots", metavar="FILE", help="the rotation, if there was one since")
    _rights(sign)
    sign.add_argument("--days", type=count, metavar="N", help="give the issuer less time")
    sign.add_argument("--out", metavar="FILE", help="write it there (default: where it was)")
    sign.add_argument("--yes", action="store_true", help="do not ask")
    rotate = add_verb(verbs, "rotate", "put another root behind the one that is")
    rotate.add_argument("roots", metavar="ROOTS", help="as `conclave root show --save` wrote them")
    rotate.add_argument(
        "--key", action="append", default=[], metavar="FILE", help="of the old root, to sign now"
    )
    rotate.add_argument("--new-key", metavar="FILE", help="the new root's; made if it is not there")
    rotate.add_argument("--no-passphrase", action="store_true", help="leave the new key open")
    add_root_keys(rotate)
    rotate.add_argument(
        "--grace-days",
        type=index,
        default=30,
        metavar="N",
        help="so long certificates under the old root count (default: 30)",
    )
    rotate.add_argument("--out", required=True, metavar="FILE", help="which must not exist yet")
    rotate.add_argument("--yes", action="store_true", help="do not ask")
    learn = add_verb(verbs, "learn", "make this node know a rotation at once; start it again then")
    learn.add_argument("file", help="the rotation, complete")


def _issuer(commands: argparse._SubParsersAction[Parser]) -> None:
    issuer = add_command(commands, "issuer", "issuer", "let this node give out certificates")
    verbs = issuer.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    request = add_verb(verbs, "request", "print what the root has to sign, so that this node may")
    _rights(request)
    request.add_argument("--days", type=count, default=366, metavar="N", help="(default: 366)")
    request.add_argument("--name", help="of the issuer (default: this node's, with -issuer)")
    request.add_argument("--out", metavar="FILE", help="write it there")
    install = add_verb(verbs, "install", "take what the root has signed")
    install.add_argument("file", help="the request, signed; - is standard input")
    add_verb(verbs, "open", "tell the node that is up the passphrase of its issuer's key")
    add_verb(verbs, "show", "what this node may give out")
