"""Whether it is noticed that the addresses of this machine changed."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from typing import Any, cast

import pytest

from p2p.discovery import MachineChanges, netlink

LINUX = hasattr(socket, "AF_NETLINK")

IN_A_SPACE_OF_ITS_OWN = """
import subprocess
from p2p.discovery import MachineChanges
changes = MachineChanges()
def changed_by(command):
    before = changes.turn(0)
    assert before == changes.turn(999), "nothing happened"
    subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)
    return changes.turn(0) != before
assert changed_by("ip link set lo up"), "a link"
assert changed_by("ip address add 10.9.8.7/24 dev lo"), "an address"
assert changed_by("ip address del 10.9.8.7/24 dev lo"), "none any more"
assert changed_by("ip address add fd00::7/64 dev lo"), "an address of IPv6"
assert not changed_by("ip address show"), "a look is no change"
print("all seen")
"""


class Told:
    """A socket to which this was told; an error is what the kernel says instead."""

    def __init__(self, *told: bytes | OSError) -> None:
        self.told = list(told)

    def recv(self, size: int) -> bytes:
        if not self.told:
            raise BlockingIOError
        first = self.told.pop(0)
        if isinstance(first, OSError):
            raise first
        return first


def changes_of(route: Told, monkeypatch: pytest.MonkeyPatch) -> MachineChanges:
    monkeypatch.setattr(netlink, "_listen", lambda: cast(Any, route))
    return MachineChanges()


@pytest.mark.skipif(not LINUX, reason="rtnetlink is Linux's")
def test_links_and_addresses_that_change_are_seen_and_nothing_else_is() -> None:
    command = ["unshare", "--net", sys.executable, "-W", "error", "-c", IN_A_SPACE_OF_ITS_OWN]
    allowed = subprocess.run([*command[:2], "ip", "link"], capture_output=True, timeout=30)
    if allowed.returncode:
        pytest.skip("no network namespace may be made here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "all seen", done.stderr
    assert not done.stderr, "it ends without a warning of a socket that is open"


def test_all_that_was_told_is_one_change_and_then_nothing_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = changes_of(Told(b"a", b"b", b"c"), monkeypatch)
    first = changes.turn(0)
    assert changes.turn(netlink.SURELY_MS - 1) == first
    assert changes.turn(netlink.SURELY_MS) != first, "it is looked at now and then, all the same"


def test_more_than_the_kernel_keeps_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    route = Told()
    changes = changes_of(route, monkeypatch)
    before = changes.turn(0)
    route.told = [OSError(errno.ENOBUFS, "no buffer space"), b"the last"]
    assert changes.turn(0) != before
    assert not route.told


def test_a_flood_is_read_in_part_and_is_a_change_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    route = Told(*[b"x"] * (2 * netlink.MOST))
    changes = changes_of(route, monkeypatch)
    turns = [changes.turn(0) for _ in range(4)]
    assert len(set(turns)) == 2, "twice there was more"
    assert turns[2] == turns[3]


def test_where_nothing_is_told_every_second_may_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    changes = MachineChanges()
    first = changes.turn(0)
    assert changes.turn(netlink.UNTOLD_MS - 1) == first
    assert changes.turn(netlink.UNTOLD_MS) != first


def test_a_process_that_was_forked_listens_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = changes_of(Told(), monkeypatch)
    before = changes.turn(0)
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert changes.turn(0) != before
    assert changes.turn(0) == changes.turn(0)
