"""`conclave root key | show | sign | rotate | learn`: what the keepers of the root do, offline.

Nothing here asks a node that is up. `show` and `learn` read a home; the others need files only.

What this module does not know: what papers are made of (`keys.ceremonies`), their words (`papers`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from agents.auditing_kinds import Kind
from agents.auditing_offline import note_ceremony, note_command, open_noted
from agents.cli.papers import (
    authority_words,
    day,
    make_root_key,
    open_root_key,
    read_paper,
    root_words,
    words_of,
    write_paper,
)
from agents.cli.places import home_of
from agents.passphrases import passphrase
from keys import (
    Authority,
    Identity,
    InvalidValue,
    Keystore,
    RootQuorum,
    custodian_text,
    parse_custodian,
    roles_named,
)
from keys.ceremonies import Paper, Purpose

DAY_MS = 86_400_000


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs = {"key": _key, "show": _show, "sign": _sign, "rotate": _rotate, "learn": _learn}
    verbs[arguments.verb](arguments)
    return 0


def quorum_of(threshold: int | None, words: list[str]) -> Authority:
    """Return the root that these public keys are together, or the one that is alone.

    Raises:
        InvalidValue
    """
    keys = [parse_custodian(word) for word in words]
    if len(keys) == 1 and threshold in (None, 1):
        return Authority(keys[0])
    if threshold is None:
        raise InvalidValue("--root-quorum", "say how many of these keys must sign")
    return Authority.of(RootQuorum.make(threshold, keys))


def _key(arguments: argparse.Namespace) -> None:
    key = make_root_key(arguments.file, is_open=arguments.no_passphrase)
    word = custodian_text(key.public_key)
    said = {"file": arguments.file, "public_key": word}
    _say(arguments, said, [word])
    if not arguments.json:
        print(
            f"conclave: the secret key is in {arguments.file}: keep it offline, and a copy of it",
            file=sys.stderr,
        )


def _show(arguments: argparse.Namespace) -> None:
    if arguments.file:
        paper = read_paper(arguments.file)
        _say(arguments, _facts(paper), words_of(paper))
        return
    keystore = Keystore.open(home_of(arguments), passphrase(home_of(arguments)))
    line = _newest_line(keystore)
    lines = [f"network  {keystore.genesis.network_name} ({keystore.genesis.network_id})"]
    for root in line:
        lines.append(f"root     {root_words(root)}")
        lines += [f"         {custodian_text(each)}" for each in root.authority.signers]
        if root.rotation is not None:
            lines.append(f"         the one before counts until {day(root.rotation.old_until_ms)}")
    if arguments.save:
        write_paper(Path(arguments.save), Paper.of_roots(line), is_new=True)
        lines.append(f"saved in {arguments.save}, for `conclave root rotate`")
    _say(arguments, _facts(Paper.of_roots(line)), lines)


def _newest_line(keystore: Keystore) -> tuple[Any, ...]:
    seen = keystore.trust.seen
    known = seen.roots if seen is not None else ()
    return known or keystore.chain.roots


def _sign(arguments: argparse.Namespace) -> None:
    paper = read_paper(arguments.file)
    narrowing = arguments.roles or arguments.namespace or arguments.days or arguments.roots
    if paper.purpose is Purpose.ISSUING and not paper.drafts:
        paper = paper.drafted(
            _now_ms(),
            roles=roles_named(arguments.roles) if arguments.roles else None,
            namespaces=arguments.namespace,
            days=arguments.days,
            line=read_paper(arguments.roots).roots() if arguments.roots else None,
        )
    elif narrowing:
        raise InvalidValue("the paper", "is drafted already; only its first signer narrows it")
    keys = [open_root_key(path) for path in arguments.key]
    signed = _signed(arguments, paper, keys)
    target = Path(arguments.out or arguments.file).expanduser()
    write_paper(target, signed)
    lines = [f"Signed; {target} now needs {signed.missing}."]
    if signed.missing is None:
        lines = [f"Signed; {target} is complete.", words_of(signed)[-1]]
    _say(arguments, {**_facts(signed), "file": str(target)}, lines)


def _rotate(arguments: argparse.Namespace) -> None:
    line = read_paper(arguments.roots).roots()
    made: list[Identity] = []
    if arguments.new_key:
        if arguments.root_key:
            raise InvalidValue("the new root", "is --new-key, or --root-key for each of several")
        made.append(_new_key(arguments))
        new = Authority(made[0].public_key)
    else:
        if not arguments.root_key:
            raise InvalidValue("the new root", "say --new-key FILE, or --root-key for each key")
        new = quorum_of(arguments.root_quorum, arguments.root_key)
    paper = Paper.rotation(line, new, arguments.grace_days * DAY_MS, _now_ms())
    keys = [open_root_key(path) for path in arguments.key]
    if keys or made:
        paper = _signed(arguments, paper, [*keys, *made])
    write_paper(Path(arguments.out), paper, is_new=True)
    lines = [f"The rotation to {authority_words(new)} is in {arguments.out}."]
    lines.append(f"It needs {paper.missing}." if paper.missing else words_of(paper)[-1])
    _say(arguments, {**_facts(paper), "file": arguments.out}, lines)


def _new_key(arguments: argparse.Namespace) -> Identity:
    """Return the new root's key, made if its file is not there: so a rotation can be repeated."""
    if Path(arguments.new_key).expanduser().exists():
        return open_root_key(arguments.new_key)
    return make_root_key(arguments.new_key, is_open=arguments.no_passphrase)


def _learn(arguments: argparse.Namespace) -> None:
    """Make a home know a rotation before anybody shows it."""
    keystore = open_noted(home_of(arguments), passphrase(home_of(arguments)))
    line = read_paper(arguments.file).roots()
    seen = keystore.trust.seen
    assert seen is not None, "a home remembers roots"
    if line[-1].network_id != keystore.genesis.network_id:
        raise InvalidValue("the paper", "is of another network than this home")
    seen.judge(line, 0, 0)
    note_command(keystore, "root.learn")
    news = seen.learn(line)
    if news:
        note_ceremony(keystore, Kind.ROOT_LEARNED, f"root {seen.number}")
    text = f"this home knows root number {seen.number}" + ("" if news else " already")
    _say(arguments, {"number": seen.number, "is_news": news}, [text])


def _signed(arguments: argparse.Namespace, paper: Paper, keys: list[Identity]) -> Paper:
    """Return the paper with the signatures of these keys, after its words were read and agreed to.

    Raises:
        NotACustodian: found before anybody is asked.
        SystemExit: nobody agreed.
    """
    signed = paper
    for key in keys:
        signed = signed.sign(key)
    if arguments.yes:
        return signed
    print("\n".join(words_of(paper)), file=sys.stderr)
    if not sys.stdin.isatty():
        raise SystemExit("conclave: nothing was signed: read the above, and say --yes")
    if input("Type yes to sign this: ").strip() != "yes":
        raise SystemExit("conclave: nothing was signed")
    return signed


def _facts(paper: Paper) -> dict[str, Any]:
    root = paper.parties[-1] if paper.parties else paper.line[0].authority
    return {
        "purpose": paper.purpose.name.lower(),
        "missing": paper.missing,
        "signed": [custodian_text(key) for key, _ in paper.signatures],
        "threshold": root.threshold,
        "keys": [custodian_text(each) for each in root.signers],
        "root_number": len(paper.line) - 1 if paper.line else 0,
    }


def _say(arguments: argparse.Namespace, said: dict[str, Any], lines: list[str]) -> None:
    print(json.dumps(said) if arguments.json else "\n".join(lines))


def _now_ms() -> int:
    return int(time.time() * 1000)
