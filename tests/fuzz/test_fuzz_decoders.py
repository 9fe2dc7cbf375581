"""A short run of the fuzzer: every decoder takes what is valid and refuses garbage as it says.

`make fuzz` is the long one.
"""

from __future__ import annotations

import ast
import importlib
import threading
from pathlib import Path

import pytest
from fuzz_lab import Harness, run
from fuzz_targets import HARNESSES

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 2_000
BEGINNINGS = ("decode", "read_", "parse", "report_from_wire", "learn_from_wire", "load")
NAMES = ("from_wire", "from_bytes", "from_json")
TAKES = {
    "bytes",
    "str",
    "str | bytes",
    "object",
    "Any",
    "list[Any]",
    "Path",
    "asyncio.StreamReader",
}

# What looks like a decoder of bytes from elsewhere and is none, with the reason.
NONE = {
    "agents.chaos.running:load_scenario": "a script that this very user names",
    "agents.cli.loading:load_agents": "words of the command line of this very user",
    "agents.cli.main:parser": "builds the command line's parser",
    "agents.deciding.judging:read_answer": "what a handler in this process returned",
    "agents.keeping.keeping:Keeping.read_stale": "asks the store; reads no bytes",
    "agents.keeping.serving:Serving.read_here": "asks the store; reads no bytes",
    "consensus.node.__main__:parse_peers": "words of a command line; parse_address has a harness",
    "consensus.storage.sqlite_rows:read_entries": "rows of SQLite: tests of storage corrupt files",
    "consensus.storage.sqlite_schema:read_base": "the same",
    "consensus.storage.sqlite_schema:read_hard": "the same",
    "keys.files:read_file": "gives bytes and understands none",
    "keys.revocationbook:read_list_file": "gives bytes and understands none",
    "agents.net_trust:TrustNet.load": "hands bytes on to read_list",
    "agents.trusting:Trusting.load": "hands bytes on to read_list",
    "keys.files:read_private": "gives bytes and understands none",
    "agents.cli.papers:read_paper": "reads a file; the harness paper-text",
    "keys.ceremonies.key_file:read_key_file": "the harness secret-file",
    "keys.home:read_chain": "a file of the home; the harness chain",
    "keys.home:read_genesis": "a file of the home; the harness genesis",
    "keys.home:read_issuer_chain": "a file of the home; the harness chain",
    "keys.home:read_key": "a file of the home; the harness secret-file",
    "keys.backups.reader_key:load_backup_key": "a file of a key; the harness secret-file",
    "keys.home:read_roots": "a file of the home; the harness roots",
    "p2p.discovery.lastgood:LastGoodPeers.load": "the harness peers-file",
    "agents.settings:load_settings": "the harness settings",
    "p2p.transport.parts:read_body": "takes a socket; tests/attacks sends it garbage",
}


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=list(HARNESSES))
def test_a_decoder_survives_whatever_it_is_given(harness: Harness) -> None:
    outcome = run(harness, INPUTS)
    assert not outcome.problems, "\n".join(outcome.problems)
    assert outcome.inputs >= INPUTS


def _decoders() -> dict[str, str]:
    """Every public function that is named like a decoder and takes something to decode."""
    found: dict[str, str] = {}
    for package in ("keys", "p2p", "consensus", "agents"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            for name, node in _functions(ast.parse(path.read_text(encoding="utf-8"))):
                if _is_decoder(node):
                    found[f"{module}:{name}"] = str(path.relative_to(ROOT))
    return found


def _functions(tree: ast.Module) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [(node.name, node) for node in tree.body if isinstance(node, kinds)]
    for outer in tree.body:
        if isinstance(outer, ast.ClassDef):
            inner = [node for node in outer.body if isinstance(node, kinds)]
            found += [(f"{outer.name}.{node.name}", node) for node in inner]
    return found


def _is_decoder(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if not (node.name.startswith(BEGINNINGS) or node.name in NAMES):
        return False
    given = [a for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in {"self", "cls"}]
    return bool(given) and any(
        a.annotation is not None and ast.unparse(a.annotation) in TAKES for a in given
    )


def test_every_decoder_has_a_harness() -> None:
    covered = {name for harness in HARNESSES.values() for name in harness.covers}
    missing = set(_decoders()) - covered - set(NONE)
    assert not missing, (
        f"no fuzz harness covers {sorted(missing)}: add one in tests/fuzz, or a reason to NONE"
    )


def test_what_harnesses_say_they_cover_is_there() -> None:
    for harness in HARNESSES.values():
        for name in harness.covers:
            module, _, path = name.partition(":")
            found: object = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
            assert callable(found), name


def test_the_fuzzer_finds_what_is_wrong() -> None:
    def broken(data: bytes) -> None:
        if data[:1] == b"\x93":
            _ = data[400]

    outcome = run(Harness("broken", broken, [b"\x92\x01\x02"]), 5_000)
    assert outcome.problems
    assert "IndexError" in outcome.problems[0]
    assert "--replay" in outcome.problems[0]


def test_the_fuzzer_ends_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz_lab.CAP_S", 0.05)

    def hangs(data: bytes) -> None:
        while data:
            pass

    outcome = run(Harness("hangs", hangs, [b"x"]), 3, most_problems=1)
    assert "longer than" in outcome.problems[0]


def test_the_fuzzer_ends_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz_lab.WAIT_S", 0.05)
    outcome = run(Harness("waits", lambda _: threading.Event().wait(), [b"x"]), 3, most_problems=1)
    assert "longer than" in outcome.problems[0]
