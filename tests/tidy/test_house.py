"""The rules of the house, where they can be tested."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from house import PACKAGES, ROOT, files, imports, is_standard, module_of, of_tests, top, tree

MAY_IMPORT = {
    "keys": set(),
    "consensus": set(),
    "p2p": {"keys"},
    "agents": {"keys", "consensus", "p2p"},
}
AT_HOME_IN = {
    "zmq": ("p2p/transport",),
    "nacl": ("keys", "consensus/ballots"),
    "jwt": ("keys/tokens/jwts.py",),
    "zeroconf": ("p2p/discovery",),
    "ifaddr": ("p2p/discovery",),
    "dns": ("p2p/discovery/services.py",),
    "sqlite3": ("consensus/storage", "consensus/ballots"),
    "prometheus_client": ("agents/observe",),
    "rich": ("agents/cli", "agents/demo"),
}
CONSENSUS_NEEDS = {"consensus/kv/": "msgpack", "consensus/ballots/": "nacl"}
PURE = (
    "agents/autopilot",
    "agents/busy.py",
    "agents/clusters/book.py",
    "agents/clusters/core.py",
    "agents/clusters/model.py",
    "agents/electorate.py",
    "agents/scoring.py",
    "consensus/driver.py",
    "consensus/machine.py",
    "consensus/raft",
    "consensus/shipping.py",
    "keys/guard.py",
    "keys/policy.py",
    "keys/policies/file.py",
    "keys/tokens",
    "p2p/membership",
    "p2p/trusting/core.py",
    "p2p/trusting/freshness.py",
    "p2p/discovery/candidates.py",
    "p2p/discovery/candidate.py",
    "p2p/rpc/requests.py",
    "p2p/topic_names.py",
    "p2p/transport/outbox.py",
    "p2p/transport/subscriptions.py",
    "p2p/pubsub/publisher.py",
    "p2p/pubsub/incoming.py",
    "p2p/pubsub/line.py",
    "p2p/pubsub/chain.py",
    "p2p/pubsub/names.py",
    "p2p/pubsub/messages.py",
    "p2p/rpc/deadlines.py",
    "p2p/streams/core.py",
    "p2p/streams/outgoing.py",
    "p2p/streams/arriving.py",
    "p2p/streams/verbs.py",
    "p2p/streams/messages.py",
    "p2p/admission/handshake.py",
    "p2p/admission/dialer.py",
    "p2p/admission/door_side.py",
    "agents/ledger",
    "agents/scheduling",
    "agents/founding.py",
    "agents/choosing",
    "agents/health/judging.py",
    "agents/switching/links.py",
    "agents/calling/window.py",
)
IMPURE = {"asyncio", "time", "os", "socket", "zmq", "logging", "threading", "subprocess", "pathlib"}
MAX_LINES = 450


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_below_them(package: str) -> None:
    for path in files():
        if names(path).startswith(f"{package}/"):
            ours = {top(m) for m in imports(path)} & set(PACKAGES)
            assert ours <= MAY_IMPORT[package] | {package}, names(path)


def test_consensus_needs_little_but_the_standard_library() -> None:
    for path in files():
        if names(path).startswith("consensus/"):
            foreign = {m for m in imports(path) if not is_standard(m) and top(m) != "consensus"}
            at_home = {lib for part, lib in CONSENSUS_NEEDS.items() if names(path).startswith(part)}
            assert {top(m) for m in foreign} <= at_home, names(path)


@pytest.mark.parametrize("library", AT_HOME_IN)
def test_a_library_is_imported_only_where_it_is_at_home(library: str) -> None:
    for path in files():
        if library in {top(m) for m in imports(path)}:
            assert names(path).startswith(AT_HOME_IN[library]), names(path)


@pytest.mark.parametrize("core", PURE)
def test_cores_do_no_io_and_read_no_clock(core: str) -> None:
    found = [p for p in files() if names(p) == core or names(p).startswith(core + "/")]
    assert found, f"{core} is gone: mend this list"
    for path in found:
        assert not IMPURE & {top(m) for m in imports(path)}, names(path)


def test_nobody_draws_from_the_global_random() -> None:
    for path in files():
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "random"
            ):
                assert node.attr in {"Random", "SystemRandom"}, f"{names(path)}: {node.attr}"


def test_other_packages_are_imported_from_their_root() -> None:
    allowed = {
        *("agents.observe.metrics", "consensus.kv", "consensus.ballots"),
        *("keys.auditing", "keys.policies", "keys.safekeeping", "keys.sealing", "keys.tokens"),
        "keys.voters",
        *("keys.backups", "keys.ceremonies", "keys.issuing"),  # few load these: test_idle_modules
        *("consensus.sim", "p2p.memory"),  # worlds that a real node does not load
    }
    modules = {module_of(p) for p in files()}
    for path in files():
        own = top(module_of(path))
        for module in imports(path):
            if module in modules and top(module) != own and module not in allowed:
                assert "." not in module, f"{names(path)} imports {module}"


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {module_of(path): path for path in files()}
    edges = {
        module: {m for m in imports(path, typing_too=False) if m in modules and m != module}
        for module, path in modules.items()
        if path.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above[above.index(module) :], module))
        if module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, (*above, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


def test_every_package_says_what_it_exports_and_has_it() -> None:
    for path in files():
        if path.name == "__init__.py" and len(tree(path).body) > 1:
            module = importlib.import_module(module_of(path))
            for name in module.__all__:
                assert hasattr(module, name), f"{module_of(path)}.{name}"


def test_every_module_says_what_it_is() -> None:
    for path in files():
        assert ast.get_docstring(tree(path)), names(path)


def test_files_are_of_a_size_that_can_be_read() -> None:
    for path in (*files(), *of_tests()):
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= MAX_LINES, f"{names(path)} has {lines} lines"


def test_names_say_something() -> None:
    empty = {"utils", "common", "base_utils", "helpers", "misc", "manager"}
    for path in files():
        assert path.stem not in empty, names(path)


def test_broad_excepts_give_their_reason() -> None:
    for path in files():
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if line.strip().startswith(("except Exception", "except BaseException:", "except:")):
                goes_on_up = lines[number].strip().startswith("raise")
                followed = "noqa: BLE001 - " in line or "BaseException:" in line or goes_on_up
                assert followed, f"{names(path)}:{number}"


def test_no_word_of_the_machine_it_was_made_on() -> None:
    words = ["/" + "work/", "/" + "root/", "pypi" + ".org", "python" + "hosted"]
    places = [p for p in ROOT.rglob("*.*") if p.suffix in {".py", ".md", ".toml"}]
    for path in places:
        parts = path.relative_to(ROOT).parts
        if any(part.startswith(".") or part == "build" for part in parts):
            continue
        text = path.read_text(encoding="utf-8")
        for word in words:
            assert word not in text, f"{path.relative_to(ROOT)} names {word}"
