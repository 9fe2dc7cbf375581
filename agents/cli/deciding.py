"""`conclave decide`, `conclave vote`, `conclave verify-certificate`.

What this module does not know: how a quorum decides, what makes a certificate hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agents.cli.attached import ask_node, print_json
from agents.cli.show import print_table
from agents.cli.voting_words import fraction
from agents.errors import InvalidArguments
from agents.net import Net
from agents.net_deciding import QuorumDecision
from agents.observe import one_line

EXIT_REJECTED: Final = 3
EXIT_EXPIRED: Final = 4
MAX_CERTIFICATE_FILE: Final = 8 * 1024 * 1024

_EXITS: Final = {
    "approved": 0,
    "rejected": EXIT_REJECTED,
    "vetoed": EXIT_REJECTED,
    "blocked": EXIT_REJECTED,
    "expired": EXIT_EXPIRED,
}


def run(arguments: argparse.Namespace) -> int:
    """Do what the command says, and return how it ended."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "decide": _decide,
        "vote": _vote,
        "verify-certificate": _verify,
    }
    return commands[arguments.command](arguments)


# -- conclave decide -------------------------------------------------------------------------------


def _decide(arguments: argparse.Namespace) -> int:
    threshold = fraction(arguments.threshold)
    subject = _subject(arguments.subject)

    async def ask(net: Net) -> QuorumDecision:
        return await net.decide(
            arguments.question,
            subject=subject,
            kind=arguments.kind,
            voters=arguments.voter,
            may_veto=arguments.may_veto or (),
            threshold=threshold,
            deadline=arguments.deadline,
            key=arguments.key,
        )

    decision = ask_node(arguments, ask)
    saved = _save(decision, arguments.save)
    if arguments.json:
        print_json(_document(decision, saved))
    else:
        _show(decision, saved)
    return _EXITS[decision.outcome]


def _subject(word: str | None) -> bytes:
    """What is in the file of that name, or the word itself."""
    if word is None:
        return b""
    path = Path(word)
    return path.read_bytes() if len(word) < 4096 and path.is_file() else word.encode()


def _save(decision: QuorumDecision, file: str | None) -> str | None:
    if file is None or decision.certificate is None:
        return None
    if file.endswith(".json"):
        Path(file).write_text(decision.certificate_json or "", encoding="utf-8")
    else:
        Path(file).write_bytes(decision.certificate)
    return file


def _document(decision: QuorumDecision, saved: str | None) -> dict[str, Any]:
    return {
        "id": decision.id,
        "outcome": decision.outcome,
        "why": decision.why,
        "question": decision.question,
        "needed": decision.needed,
        "total": decision.total,
        "index": decision.index,
        "votes": list(decision.votes),
        "voters": list(decision.voters),
        "accused": list(decision.accused),
        "saved": saved,
    }


def _show(decision: QuorumDecision, saved: str | None) -> None:
    print(f"{decision.outcome}: {one_line(decision.question)}")
    print(f"decision {decision.id}, entry {decision.index} of the log")
    if decision.why:
        print(one_line(decision.why))
    print(f"it takes {decision.needed} of {decision.total}")
    said = {vote["peer"]: vote for vote in decision.votes}
    rows = []
    for voter in decision.voters:
        vote = said.get(voter["peer"])
        word = vote["choice"] if vote is not None else "-"
        reason = vote["reason"] if vote is not None else ""
        veto = "yes" if voter["may_veto"] else ""
        rows.append((voter["name"] or voter["peer"], str(voter["weight"]), veto, word, reason))
    print()
    print_table(("VOTER", "WEIGHT", "MAY VETO", "VOTE", "REASON"), rows)
    for accused in decision.accused:
        print(f"EVIDENCE: {accused} signed two different ballots")
    if saved is not None:
        print(f"\nthe certificate is in {saved}; `conclave verify-certificate {saved}` checks it")


# -- conclave vote ---------------------------------------------------------------------------------


def _vote(arguments: argparse.Namespace) -> int:
    if arguments.id is None:
        _list(arguments)
        return 0
    if arguments.choice is None:
        raise InvalidArguments("vote", "say approve, reject, abstain or veto")

    async def ask(net: Net) -> dict[str, Any]:
        return await net.cast(arguments.id, arguments.choice, reason=arguments.reason)

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
    else:
        print(f"{said['choice']} on {said['id']}: it is signed and final")
    return 0


def _list(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[dict[str, Any]]:
        return await net.decisions(500 if arguments.all else 100)

    rows = ask_node(arguments, ask)
    if not arguments.all:
        rows = [row for row in rows if row["status"] == "open"]
    if arguments.json:
        print_json(rows)
        return
    if not rows:
        print("nothing is open" if not arguments.all else "nothing was put to a vote")
        return
    print_table(
        ("DECISION", "STATUS", "LEFT", "THIS NODE", "KIND", "QUESTION"),
        [
            (
                row["id"][:12],
                row["status"],
                f"{row['left_ms'] / 1000:.0f} s" if row["status"] == "open" else "",
                row["own"] or "has no vote",
                row["kind"],
                row["question"],
            )
            for row in rows
        ],
    )


# -- conclave verify-certificate -------------------------------------------------------------------


def _verify(arguments: argparse.Namespace) -> int:
    from agents.deciding.checking import check_certificate

    with Path(arguments.file).open("rb") as file:
        data = file.read(MAX_CERTIFICATE_FILE)
    if arguments.roster is None:
        lines, holds = check_certificate(data)
    else:
        from keys import Keystore, NoNetworkYet

        home = Path(arguments.roster).expanduser()
        keystore = Keystore.open(home)
        roster = keystore.load_roster()
        if roster is None:
            raise NoNetworkYet(home)
        lines, holds = check_certificate(data, keystore.genesis.network_id, roster.voters)
    if arguments.json:
        print_json({"valid": holds, "lines": lines})
    else:
        print("\n".join(lines))
    return 0 if holds else 1
