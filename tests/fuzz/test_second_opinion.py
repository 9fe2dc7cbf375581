"""The second verifier agrees with the first, on what is valid and on every kind of lie."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fuzz_decisions
import fuzz_opinions
import pytest
from fuzz_ballots import CERTIFICATES, PROPOSAL
from fuzz_keys import NOW_MS, REVOKED, P
from fuzz_lab import Harness, run
from fuzz_opinions import VERDICTS

from keys import pack_list, second_opinion
from keys.canonical import encode

PACKAGE = Path(second_opinion.__file__).parent
INPUTS = 20_000
HARNESSES = (*fuzz_opinions.HARNESSES, *fuzz_decisions.HARNESSES)


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda each: each.name)
def test_both_verifiers_say_the_same_of_signed_lies(harness: Harness) -> None:
    kind = harness.name.rpartition("-")[2]
    before = {said: VERDICTS[kind, said] for said in (True, False)}
    outcome = run(harness, INPUTS, seed=3)
    assert not outcome.problems, "\n".join(outcome.problems)
    for said in (True, False):  # else nothing was compared
        assert VERDICTS[kind, said] - before[said] > INPUTS // 50
        assert kind != "papers" or VERDICTS["with lists", said] > INPUTS // 250


def test_it_shares_no_code_with_the_first() -> None:
    allowed = {"__future__", "argparse", "base64", "hashlib", "re", "sys", "time", "pathlib"}
    allowed |= {"typing", "msgpack", "nacl", "collections", "itertools"}
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                ours = name.startswith("keys.second_opinion")
                assert ours or name.partition(".")[0] in allowed, f"{path.name} imports {name}"


def test_each_half_of_it_can_be_read_at_a_sitting() -> None:
    for path in PACKAGE.glob("*.py"):
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines < 150, f"{path.name} has {lines} lines"


def told(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "keys.second_opinion", *words], capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_says_whether_a_file_holds(tmp_path: Path) -> None:
    chain, record = tmp_path / "chain", tmp_path / "record"
    chain.write_bytes(P.chain.encode())
    record.write_bytes(P.record.raw)
    words = ("--network", P.trust.network_id, "--record", str(record), "--now-ms", str(NOW_MS))
    assert told(str(chain), *words) == (0, "holds: a member's chain\n")
    late = (*words[:-1], str(NOW_MS + 91 * 86_400_000))
    assert told(str(chain), *late) == (1, "does not hold: time\n")
    assert told(str(chain))[0] == 2
    chain.write_bytes(encode([P.chain.leaf.raw]))
    assert told(str(chain), *words)[0] == 1


def test_the_command_knows_what_a_list_revokes(tmp_path: Path) -> None:
    chain, theirs, older = tmp_path / "chain", tmp_path / "a.list", tmp_path / "b.list"
    chain.write_bytes(P.chain.encode())
    theirs.write_bytes(pack_list(REVOKED))
    older.write_bytes(pack_list(REVOKED)[:-1])
    words = (str(chain), "--network", P.trust.network_id, "--now-ms", str(NOW_MS), "--lists")
    assert told(*words, str(theirs))[0] == 1
    assert told(*words, str(theirs))[1].startswith("does not hold: revoked")
    assert told(*words, str(older)) == (0, "holds: a member's chain, which no list revokes\n")


def test_the_command_says_what_was_decided_and_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "decision"
    path.write_bytes(CERTIFICATES[0])
    assert told(str(path), "--electorate", PROPOSAL.electorate_digest.hex()) == (
        0,
        "holds: approved\n",
    )
    assert told(str(path), "--electorate", bytes(32).hex())[0] == 1
    assert "names itself" in told(str(path))[1]
