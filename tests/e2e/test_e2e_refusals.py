"""Bad input: each ends with one line on stderr that says what to do, and never a traceback."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import AGENT, LOOPBACK, Node, conclave, free_port, lab, refused

from keys import DoorAddress, Keystore

pytestmark = pytest.mark.e2e


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of a network of one voter; its node is not up."""
    with lab(tmp_path) as here:
        (ada,) = here.network("ada", voters=1)
        return ada.home


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that is up and decides alone."""
    with lab(tmp_path_factory.mktemp("refusals")) as here:
        nodes = here.network("ada", voters=1)
        here.up(nodes)
        yield nodes[0]


def up(home: Path, *words: str, **env: str) -> str:
    """Bring up what must not come up, and return the line that says why."""
    place = ("--home", str(home), "--host", LOOPBACK, "--no-mdns")
    return refused(conclave("up", *words, *place, **env))


# -- tickets -----------------------------------------------------------------------------------


def test_a_mistyped_ticket(tmp_path: Path) -> None:
    for line in ("conclave1-AAAA", "nonsense", ""):
        said = conclave("join", line, "--home", str(tmp_path / "bob"))
        refused(said, "not a whole ticket", "conclave invite")
    assert not (tmp_path / "bob").exists()


def test_a_ticket_with_one_letter_wrong_is_told_from_a_wrong_one(ada: Node, tmp_path: Path) -> None:
    ticket = ada.run("invite").out.strip()
    middle = len(ticket) // 2
    wrong = ticket[:middle] + ("A" if ticket[middle] != "A" else "B") + ticket[middle + 1 :]
    refused(conclave("join", wrong, "--home", str(tmp_path / "bob")), "not a whole ticket")


def test_a_ticket_of_another_issuer(ada: Node, tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (eve,) = here.network("eve", voters=1)
        ticket = eve.run("invite", "--address", f"{LOOPBACK}:{ada.port}").out.strip()
    said = conclave("join", ticket, "--home", str(tmp_path / "bob"))
    refused(said, "another network", "conclave invite")


def test_a_used_ticket_and_a_stolen_one_are_refused(ada: Node, tmp_path: Path) -> None:
    ticket = ada.run("invite").out.strip()
    assert conclave("join", ticket, "--home", str(tmp_path / "bob")).status == 0
    said = conclave("join", ticket, "--home", str(tmp_path / "cyd"))
    refused(said, "used", "conclave invite")
    assert ticket not in said.err
    refused(conclave("join", ticket, "--home", str(tmp_path / "bob")), "already belongs", "--home")


def test_an_expired_ticket(ada: Node, tmp_path: Path) -> None:
    issuer = Keystore.open(ada.home).issuer
    assert issuer is not None
    an_hour_ago_ms = int((time.time() - 3600) * 1000)
    doors = (DoorAddress(LOOPBACK, ada.port),)
    ticket = issuer.invite(an_hour_ago_ms, ttl_s=60, addresses=doors).export_secret()
    refused(conclave("join", ticket, "--home", str(tmp_path / "bob")), "expired", "conclave invite")


def test_a_ticket_for_nobody_at_home(home: Path, tmp_path: Path) -> None:
    door = f"{LOOPBACK}:{free_port()}"
    ticket = conclave("invite", "--home", str(home), "--address", door).out.strip()
    said = conclave("join", ticket, "--home", str(tmp_path / "bob"), "--wait", "0")
    refused(said, door, "Is the node that printed the ticket running")


def test_an_invitation_with_a_bad_address_or_time(home: Path) -> None:
    place = ("--home", str(home))
    refused(conclave("invite", *place, "--address", "nowhere:port"), "HOST:PORT")
    for minutes in ("-1", "nan", "soon"):
        said = conclave("invite", *place, "--minutes", minutes)
        refused(said, "minutes", "conclave invite --help")


# -- homes -------------------------------------------------------------------------------------


def test_without_a_network_up_offers_the_one_command_that_makes_one(tmp_path: Path) -> None:
    line = up(tmp_path / "nothing")
    assert "`conclave init" in line
    assert "conclave join TICKET" in line


def test_a_directory_that_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear diary")
    assert "letters.txt" in up(tmp_path)
    said = conclave("init", "lab", "--home", str(tmp_path))
    refused(said, "letters.txt", "--home")


def test_a_file_where_the_home_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    up(tmp_path / "file")
    refused(conclave("init", "lab", "--home", str(tmp_path / "file")), "--home")
    refused(conclave("status", "--home", str(tmp_path / "file")))


def test_a_home_of_a_newer_program(home: Path) -> None:
    (home / "FORMAT").write_text("conclave-home 9\n")
    assert "upgrade" in up(home)


def test_a_home_whose_format_is_garbage(home: Path) -> None:
    (home / "FORMAT").write_bytes(b"\xff\x00")
    up(home)


def test_a_key_that_others_can_read(home: Path) -> None:
    (home / "identity.key").chmod(0o640)
    assert "chmod 600" in up(home)


def test_a_damaged_key(home: Path) -> None:
    (home / "identity.key").write_bytes(b"\x93garbage")
    assert "identity.key" in up(home)


def test_a_damaged_chain(home: Path) -> None:
    (home / "chain").write_bytes(b"\x93garbage")
    assert "chain" in up(home)


@pytest.mark.skipif(os.name != "posix", reason="needs /proc or permissions")
def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    for place in ("/proc/conclave", str(tmp_path / "file" / "below")):
        (tmp_path / "file").write_text("x")
        refused(conclave("init", "lab", "--home", place), place)


def test_a_second_node_in_one_home(ada: Node) -> None:
    assert ada.process is not None
    line = up(ada.home)
    assert f"pid {ada.process.pid}" in line
    assert "--home" in line


def test_a_log_that_was_damaged(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", voters=1)
        here.up(nodes)
        (ada,) = nodes
        assert ada.run("submit", "lab.add", '{"a": 1, "b": 1}', "--wait").out == "2.0\n"
        ada.kill()
        log = ada.home / "raft" / "log.db"
        for trace in (log.with_name("log.db-wal"), log.with_name("log.db-shm")):
            trace.unlink(missing_ok=True)
        log.write_bytes(b"SQLite format 3\x00" + b"\xff" * 20_000)
        line = up(ada.home, "--log-level", "error")
        assert "log.db" in line
        assert "rejoin under a new identity" in line
        for path in log.parent.iterdir():
            path.unlink()
        assert "is gone or empty" in up(ada.home, "--log-level", "error")
        (ada.home / "voter").unlink()  # with its mark it loses no memory that it had a log
        assert "this first voter has had one before" in up(ada.home, "--log-level", "error")


def test_names_that_cannot_be(tmp_path: Path) -> None:
    refused(conclave("init", "No Spaces!", "--home", str(tmp_path / "a")), "No Spaces!")
    refused(conclave("init", "lab", "--name", "x" * 99, "--home", str(tmp_path / "b")))
    assert not (tmp_path / "a").exists()


def test_a_passphrase_file_that_is_not_there_or_wrong(tmp_path: Path) -> None:
    place = ("--home", str(tmp_path / "ada"))
    refused(
        conclave("init", "lab", *place, CONCLAVE_PASSPHRASE_FILE=str(tmp_path / "none")), "none"
    )
    for name, words in (("right", "correct horse\n"), ("wrong", "battery staple\n")):
        (tmp_path / name).write_text(words)
    right = {"CONCLAVE_PASSPHRASE_FILE": str(tmp_path / "right")}
    (tmp_path / "right").chmod(0o644)
    refused(conclave("init", "lab", *place, **right), "chmod 600", "right")
    (tmp_path / "right").chmod(0o600)
    (tmp_path / "wrong").chmod(0o600)
    made = conclave("init", "lab", *place, **right)
    assert made.status == 0, made.err
    assert "passphrase" in up(tmp_path / "ada", CONCLAVE_PASSPHRASE_FILE=str(tmp_path / "wrong"))
    assert "CONCLAVE_PASSPHRASE_FILE" in up(tmp_path / "ada")


# -- settings ----------------------------------------------------------------------------------


def test_a_door_port_in_use(home: Path) -> None:
    port = free_port()  # and the ports behind it, which are bound before the door
    with socket.create_server((LOOPBACK, port)):
        line = up(home, "--port", str(port))
        assert str(port) in line
        assert "--port" in line


def test_a_metrics_port_in_use(home: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        line = up(home, "--metrics", str(taken.getsockname()[1]))
        assert str(taken.getsockname()[1]) in line
        assert "--metrics" in line


def test_a_host_that_is_not_ours(home: Path) -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        said = conclave("up", "--home", str(home), "--host", host, "--no-mdns")
        refused(said, host)


def test_settings_that_do_not_exist_or_fit(home: Path) -> None:
    assert "CONCLAVE_PROT" in up(home, CONCLAVE_PROT="1")
    assert "CONCLAVE_PORT" in up(home, CONCLAVE_PORT="many")
    for text, word in (
        ("prot = 1", "prot"),
        ("port = 'many'", "port"),
        ("port = ", "TOML"),
        ("[node]\nport = 1", "node"),
        ("log_level = 'loud'", "log_level"),
        ("seeds = 'one'", "seeds"),
    ):
        (home / "conclave.toml").write_text(text)
        assert word in up(home), text
    (home / "conclave.toml").write_bytes(b"\xff\xfe")
    assert "conclave.toml" in up(home)


def test_a_bad_seed_and_an_unknown_interface(home: Path) -> None:
    assert "HOST:PORT" in up(home, "--seed", "a:b:c")
    assert "nope0" in up(home, "--interface", "nope0")
    assert "port" in up(home, "--port", "70000")


# -- agents ------------------------------------------------------------------------------------


def test_agents_that_cannot_be_loaded(home: Path, tmp_path: Path) -> None:
    empty, broken, raising = (tmp_path / f"{n}.py" for n in ("empty", "broken", "raising"))
    empty.write_text("x = 1\n")
    broken.write_text("x = 1\ndef f(:\n")
    raising.write_text("import nowhere_at_all\n")
    exiting = tmp_path / "exiting.py"
    exiting.write_text("import sys\nsys.exit(3)\n")
    assert "there is no file" in up(home, str(tmp_path / "none.py"))
    assert "no_such_module" in up(home, "no_such_module")
    assert 'agent = Agent("name")' in up(home, str(empty))
    assert "line 2" in up(home, str(broken))
    assert "nowhere_at_all" in up(home, str(raising))
    assert "exiting.py" in up(home, str(exiting))
    assert "has no agent called 'nobody'" in up(home, f"{AGENT}:nobody")
    assert "two agents are called 'bench'" in up(home, str(AGENT), str(AGENT))


# -- work --------------------------------------------------------------------------------------


def test_asking_where_no_node_is_up(home: Path) -> None:
    refused(conclave("status", "--home", str(home)), "no node is up", "conclave up")
    refused(conclave("call", "lab.add", "--home", str(home)), "conclave up")


def test_calls_that_do_not_fit(ada: Node) -> None:
    refused(ada.run("call", "lab.nothing"), "nobody offers 'lab.nothing'", "lab.add")
    refused(ada.run("call", "lab.add", "1"), "lab.add(a: float, b: float)", "b")
    refused(ada.run("call", "lab.add", "1", "two"), "lab.add(a: float, b: float)", "number")
    refused(ada.run("call", "lab.add", "a=1", "c=2"), "c")
    refused(ada.run("call", "lab.add", "1", "2", "--peer", "nobody"), "nobody")
    refused(ada.run("call", "lab.add", str(10**30), "2"), "64 bits")


def test_words_that_argparse_refuses() -> None:
    refused(conclave("submit", "lab.add", "--retries", "-1"), "--retries", "conclave submit --help")
    refused(conclave("call", "lab.add", "--deadline", "nan"), "--deadline", "seconds")
    refused(conclave("call"), "capability", "conclave call --help")
    refused(conclave("cal"), "cal", "conclave --help")
    refused(conclave("status", "--jason"), "--jason", "conclave --help")


def test_a_handler_that_raises_is_one_line_on_the_command_line(ada: Node) -> None:
    line = refused(ada.run("call", "lab.fail", "luck"), "ZeroDivisionError", "no luck")
    assert "\x1b" not in line
    refused(ada.run("call", "lab.object"), "lab.object", "cannot travel")


def test_tasks_that_fail(ada: Node) -> None:
    refused(ada.run("submit", "lab.give_up", "--wait"), "GiveUp", "cannot be done")
    refused(ada.run("submit", "lab.add", "[1]", "--wait"), "lab.add(a: float, b: float)")
    said = ada.run("submit", "lab.object", "--wait", "--retries", "0")
    refused(said, "lab.object", "cannot travel")
    refused(ada.run("submit", "lab.nothing", "--wait", "--timeout", "0.2"), "pending")
    refused(ada.run("cancel", "ffffffff"), "no such task")
    refused(ada.run("retry", "f" * 32), "no such task")


def test_garbage_on_every_port_leaves_the_node_serving(ada: Node) -> None:
    for port in range(ada.port, ada.port + 4):
        for garbage in (b"\x00" * 70_000, os.urandom(4096), b"GET / HTTP/1.1\r\n\r\n", b""):
            with socket.create_connection((LOOPBACK, port), timeout=5) as client:
                client.sendall(garbage)
    for garbage in (b"\xff\xff\xff\xff" + b"x" * 100, b"\x00\x00\x00\x01\xc1", b"x"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(ada.home / "node.sock"))
            client.sendall(garbage)
    assert ada.run("call", "lab.add", "1", "2").out == "3.0\n"
    assert "Traceback" not in ada.log
