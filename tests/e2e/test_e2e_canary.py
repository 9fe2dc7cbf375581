"""No secret gets out: a network at its most talkative, every command, and a search through it all.

Looked for: the seeds of all signing keys, CURVE secrets, sealing secrets, secrets of tickets, keys
made of passphrases, passphrases, tokens and assertions. Looked into: what every process said, its
log at level debug, metrics, and every file but those that are there to hold that secret.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from cli_lab import (
    AGENT,
    LOOPBACK,
    Node,
    agreed,
    begin,
    conclave,
    environment,
    eventually,
    free_port,
    lab,
)
from zmq.utils import z85

from agents.cli.permissions import NEEDED
from keys import Identity
from keys.tokens import make_assertion

pytestmark = pytest.mark.e2e

CANARY = Path(__file__).with_name("canary_conclave.py")
MARK = "=== command"
PASSPHRASE, BACKUP = "canary of the home, long enough", "canary of the backup, long enough"

# Files that are there to hold a secret; `.ring` seals its keys under the identity's.
SECRET_FILES = ("identity.key", "issuer.key", "root.key", "issuer.pending", "spare.key", "b.key")
# What prints a secret to whoever asked for it.
PRINTS = ("invite", "token issue")
ELSEWHERE = {
    "up": "the nodes themselves",
    "join": "run by the test, with a ticket on standard input",
    "demo": "makes networks of its own; nothing else in it",
    "chaos run": "the same, and breaks them",
}


def forms(secret: bytes) -> Iterator[bytes]:
    """Whatever a secret can look like in text or bytes; base64 at each of its three alignments."""
    yield secret
    yield from (secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode())
    yield ", ".join(map(str, secret)).encode()
    yield base64.b32encode(secret).rstrip(b"=").lower()[: len(secret)]
    if len(secret) % 4 == 0:
        yield z85.encode(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for skipped in range(3):
            inner = encode(bytes(skipped) + secret)
            yield inner[-(-skipped * 8 // 6) + (skipped > 0) : (len(secret) + skipped) * 8 // 6]


def test_a_secret_is_found_in_each_of_its_forms() -> None:
    secret = bytes(range(100, 132))
    for before in (b"", b"x", b"xy", b"xyz"):
        for text in (base64.b64encode(before + secret + b"end"), before + secret):
            assert any(form in text for form in forms(secret)), (before, text)
    assert any(form in z85.encode(secret) for form in forms(secret))
    assert not any(form in bytes(500) for form in forms(secret))


def test_no_secret_gets_out(tmp_path: Path) -> None:
    book = tmp_path / "book"
    canary = {"CANARY_BOOK": str(book)}
    words = tmp_path / "words"
    words.write_text(PASSPHRASE + "\n")
    words.chmod(0o600)
    sealed = {**canary, "CONCLAVE_PASSPHRASE_FILE": str(words)}
    outputs: list[tuple[str, str]] = []
    with lab(tmp_path / "net") as here:
        here.directory.mkdir()
        ada, bob, cyd = (here.node(name) for name in ("ada", "bob", "cyd"))
        place = ("--home", str(ada.home))
        outputs.append(("init", run("init", "lab", "--name", "ada", *place, **sealed)))
        metrics = free_port()
        start(ada, "--metrics", str(metrics), **sealed)
        for node in (bob, cyd):
            invited = run("invite", "--address", f"{LOOPBACK}:{ada.port}", *place, **sealed)
            ticket = next(line for line in invited.split() if line.startswith("conclave1-"))
            joining = ("join", "-", "--name", node.name, "--home", str(node.home))
            outputs.append(("join", run(*joining, stdin=ticket, **canary)))
            outputs.append(("join", run(*joining, stdin=ticket[:-3], **canary)))
            start(node, seeds=(ada,), **canary)
        eventually(lambda: agreed([ada, bob, cyd]), "a leader")
        secrets = {bytes.fromhex(ticket_line) for ticket_line in book.read_text().split()}
        token, assertion = given(ada)
        tail = Listening("tail", "news/a", "--count", "1", "--home", str(bob.home), **canary)
        watch = Listening("kv", "watch", "a", "--count", "1", *place, **sealed)
        outputs += batch(tmp_path, commands(tmp_path, ada, bob, token, assertion), sealed)
        outputs.append(("tail", tail.ended(30)[1]))
        outputs.append(("kv watch", watch.ended(30)[1]))
        url = f"http://{LOOPBACK}:{metrics}/metrics"
        outputs.append(("metrics", urllib.request.urlopen(url, timeout=5).read().decode()))
        for node in (ada, bob, cyd):
            assert node.process is not None
            node.process.send_signal(signal.SIGINT)
            node.process.wait(20)
        outputs += batch(tmp_path, offline(tmp_path, ada, cyd), sealed)
    ran = {" ".join(name.split()) for name, _ in outputs}
    assert set(NEEDED) - ran - set(ELSEWHERE) == set(), "run them here, or say in ELSEWHERE why not"
    secrets |= {bytes.fromhex(line) for line in book.read_text().split()}
    assert len(secrets) > 12
    secrets |= {text.encode() for text in (PASSPHRASE, BACKUP, token, assertion)}
    found = [*in_outputs(secrets, outputs), *in_files(secrets, tmp_path, book, words)]
    assert not found, found
    secret = min(secrets)  # and a leak would have been found
    (tmp_path / "leak").write_bytes(b"key=" + base64.b64encode(b"?" + secret))
    assert list(in_files(secrets, tmp_path, book, words)) == [f"leak holds {secret[:4].hex()}..."]
    assert list(in_outputs(secrets, [("status", secret.hex())]))


def in_outputs(secrets: set[bytes], outputs: list[tuple[str, str]]) -> Iterator[str]:
    for name, said in outputs:
        if name in PRINTS:
            continue
        for secret in secrets:
            if any(form in said.encode() for form in forms(secret)):
                yield f"{name} prints {secret[:4].hex()}..."


def in_files(secrets: set[bytes], directory: Path, *but: Path) -> Iterator[str]:
    looked = 0
    for path in sorted(directory.rglob("*")):
        if path in but or not path.is_file() or path.name in SECRET_FILES:
            continue
        if path.name in ("backup-words", "token", "commands"):
            continue  # what the test itself wrote
        looked += 1
        data = path.read_bytes()
        for secret in secrets:
            if any(form in data for form in forms(secret)):
                yield f"{path.relative_to(directory)} holds {secret[:4].hex()}..."
    assert looked > 20, looked


def given(ada: Node) -> tuple[str, str]:
    """A token and an assertion, by other ways than a command."""
    key = Identity.generate()

    async def ask(net):  # type: ignore[no-untyped-def]
        await net.tokens.add_client("web", key.public_key, ["call:lab.*"])
        return (await net.tokens.issue(["call:lab.*"], audience="network"))["token"]

    token = eventually(lambda: ada.ask(ask), "a token")
    import time

    return token, make_assertion(key, "web", ada.status()["peer"], int(time.time() * 1000), "one")


def commands(directory: Path, ada: Node, bob: Node, token: str, assertion: str) -> list[list[str]]:
    """Every command that a running network answers, and some that fail."""
    home, other = ["--home", str(ada.home)], ["--home", str(bob.home)]
    (directory / "token").write_text(token)
    (directory / "policy.toml").write_text(
        'version = 1\n[[rule]]\nname = "all"\neffect = "allow"\nwho = "*"\nactions = "*"\n'
        'what = "*"\n'
    )
    (directory / "plain").write_text("plain text")
    spare = str(directory / "spare.key")
    said = [
        *(["status"], ["peers"], ["agents"], ["tasks"], ["doctor"], ["renew"], ["keys", "show"]),
        *(["top", "--once"], ["bench", "--seconds", "0.05"], ["keys", "rotate"]),
        *(["call", "lab.add", "1", "2"], ["call", "lab.fail", "word"], ["call", "no.such"]),
        *(["submit", "lab.add", "[1, 2]"], ["submit", "lab.fail", "x", "--wait", "--timeout", "2"]),
        *(["cancel", "nothing"], ["retry", "nothing"], ["run", str(directory / "none.py")]),
        ["pub", "news/a", "1", "--wait-subscribers", "1"],
        *(["kv", "put", "a", "1"], ["kv", "get", "a"], ["kv", "list"], ["kv", "delete", "none"]),
        ["kv", "cas", "a", "2", "--version", "99"],
        ["lock", "printer", "--", "true"],
        *(["clusters"], ["clusters", "--watch", "--count", "0"], ["cluster", "show", "none"]),
        *(["raft", "status"], ["raft", "snapshot"], ["raft", "backup", str(directory / "raft.b")]),
        *(["raft", "transfer"], ["raft", "autopilot", "on"], ["raft", "add-voter", "nobody"]),
        ["raft", "follow", "nobody"],
        ["raft", "remove-voter", "nobody"],
        ["decide", "ok?", "--deadline", "0.5", "--save", str(directory / "decided")],
        *(
            ["vote"],
            ["vote", "nothing", "approve"],
            ["verify-certificate", str(directory / "plain")],
        ),
        *(["policy", "show"], ["policy", "check", str(directory / "policy.toml")]),
        *(["policy", "set", str(directory / "policy.toml")], ["policy", "reset"]),
        ["policy", "explain", "bob", "call", "lab.add"],
        *(["audit", "show"], ["audit", "verify"], ["audit", "export", str(directory / "audit")]),
        ["audit", "show", "--peer", "bob"],
        ["seal", "--to", "bob", str(directory / "plain")],
        ["unseal", str(directory / "plain")],
        *(["revocations"], ["revoke", "nobody", "--yes"]),
        *(["issuer", "show"], ["issuer", "request"], ["issuer", "install", spare]),
        ["issuer", "open"],
        *(["root", "show"], ["root", "learn", spare], ["root", "sign", spare, "--key", spare]),
        ["root", "rotate", spare, "--key", spare, "--out", str(directory / "rotation"), "--yes"],
        ["invite"],
        *(["token", "issue", "--scope", "call:*"], ["token", "show", str(directory / "token")]),
        *(["token", "show", str(directory / "plain")], ["token", "client", "list"]),
        ["token", "client", "add", "app", "--key", "00" * 32, "--scope", "call:*"],
        *(["token", "client", "remove", "app"], ["token", "revoke", "--client", "web"]),
        ["token", "revoke", "A" * 22],
    ]
    lines = [
        [*words[:1], *home, *words[1:]] if words[0] in ONE_WORD else words + home for words in said
    ]
    lines += [["status", *other], ["token", "issue", "--scope", "call:*", *other]]
    lines += [["join", "conclave1-" + "A" * 40, "--home", str(directory / "nobody")]]
    return lines


# These take what follows as it is, so `--home` stands in front.
ONE_WORD = ("lock", "run", "call")


def offline(directory: Path, ada: Node, cyd: Node) -> list[list[str]]:
    """Commands on a home whose node is down; the last ones end its part in the log."""
    home, other = ["--home", str(ada.home)], ["--home", str(cyd.home)]
    words = directory / "backup-words"
    words.write_text(BACKUP + "\n")
    words.chmod(0o600)
    file = ["--passphrase-file", str(words)]
    again = ["--home", str(directory / "net" / "again")]
    return [
        ["init", "other", *home],
        ["root", "key", str(directory / "spare.key"), *home],
        ["keys", "backup-key", str(directory / "b.key"), *file, *home],
        ["keys", "backup", str(directory / "backup"), *file, *home],
        ["keys", "restore", str(directory / "backup"), *file, *again],
        ["keys", "restore", str(directory / "backup"), *again],
        ["keys", "change-passphrase", "--new-file", str(words), *home],
        ["keys", "change-passphrase", "--new-file", str(words), *other],
        ["status", *home],
        ["raft", "force-new-cluster", "--yes", *other],
        ["raft", "restore", str(directory / "raft.b"), "--yes", *other],
        ["raft", "rejoin", "--yes", *other],
    ]


def start(node: Node, *more: str, seeds: tuple[Node, ...] = (), **env: str) -> None:
    """Bring a node up that tells of its secrets, and says all that it can."""
    level = ("--log-level", "debug", "--log-style", "json" if seeds else "text")
    node.up(str(AGENT), *level, *more, seeds=seeds, script=CANARY, **env).until_up()


def run(*words: str, stdin: str = "", **env: str) -> str:
    said = conclave(*words, stdin=stdin, timeout_s=60, script=CANARY, **env)
    return said.out + said.err


class Listening:
    """A command that goes on, and what it says."""

    def __init__(self, *words: str, **env: str) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - until the end
        with Path(os.devnull).open() as nothing:
            files = {"stdout": self._file.fileno(), "stderr": self._file.fileno()}
            place = environment(**env)
            self._process = begin(words, stdin=nothing.fileno(), script=CANARY, env=place, **files)

    def ended(self, timeout_s: float) -> tuple[int, str]:
        """Its status and all that it said; it is not left behind."""
        try:
            status = self._process.wait(timeout_s)
        finally:
            self._process.kill()
            self._file.seek(0)
            said = self._file.read().decode()
            self._file.close()
            print(said[-2000:])
        return status, said


def batch(directory: Path, lines: list[list[str]], env: dict[str, str]) -> list[tuple[str, str]]:
    """Run them one after another in one process; what each said, by its name."""
    file = directory / "commands"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, out = Listening("--batch", str(file), **env).ended(120)
    assert status == 0
    said: list[tuple[str, str]] = []
    for piece in out.split(MARK)[1:]:
        line, _, rest = piece.partition("\n")
        assert "exit 2" not in rest, f"the test says it wrong: {line} {rest}"
        said.append((name_of(json.loads(line)), rest))
    return said


def name_of(words: list[str]) -> str:
    """The longest row of the table of permissions that these words begin with."""
    for length in (3, 2, 1):
        if " ".join(words[:length]) in NEEDED:
            return " ".join(words[:length])
    raise AssertionError(words)
