"""Incoming TCP connections of one listener: whose they are, and how to cut one.

libzmq never asks ZAP again about a live connection, so taking a key off the allow-list keeps its
holder out only the next time. The connection itself is cut by `shutdown` on a duplicate of its
file descriptor: libzmq sees the other side hang up, neighbours notice nothing.

File descriptors are reused, and the monitor's events are late: a message of a new connection may
be read before the events that the old one ended and the new one began. Hence `_ahead`: what was
learnt from a message before its ACCEPTED came survives the DISCONNECTED of its predecessor. Every
entry holds the remote address and our own port beside the descriptor, and nothing is cut unless
both still fit. A listener has one port, or two while keys rotate.

Does not know: peers, routing ids, messages; `owner` is the user id that ZAP gave to the key.
Invariants: a descriptor is silent or owned or neither; one that is ahead is owned.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

Remote = tuple[str, int, int]  # their host and port, our port


@dataclass(frozen=True, slots=True)
class Connection:
    fd: int
    remote: Remote
    owner: str

    @property
    def port(self) -> int:
        """Ours, at which it came in."""
        return self.remote[2]


class Connections:
    """Those of one listener, by file descriptor."""

    def __init__(self, *ports: int) -> None:
        self._ports = set(ports)
        self._silent: dict[int, Remote | None] = {}
        self._owned: dict[int, Connection] = {}
        self._ahead: set[int] = set()

    def __len__(self) -> int:
        return len(self._silent) + len(self._owned)

    def accepted(self, fd: int) -> None:
        """A connection came in."""
        if fd in self._ahead:
            self._ahead.remove(fd)  # and we know already whose it is
            return
        self._owned.pop(fd, None)
        self._silent[fd] = self._remote_of(fd)

    def attribute(self, fd: int, owner: str) -> Connection | None:
        """A message of `owner` came over `fd`. None when that connection is gone already."""
        remote = self._remote_of(fd)
        if remote is None:
            return None
        known = self._owned.get(fd)
        if known is not None and known.remote == remote and known.owner == owner:
            return known
        if self._silent.pop(fd, None) != remote:
            self._ahead.add(fd)
        connection = self._owned[fd] = Connection(fd, remote, owner)
        return connection

    def disconnected(self, fd: int) -> None:
        """A connection ended."""
        self._silent.pop(fd, None)
        if fd not in self._ahead:
            self._owned.pop(fd, None)

    def listen(self, port: int) -> None:
        """They come in there, too."""
        self._ports.add(port)

    def leave(self, port: int) -> None:
        """That port is closed, and all that came in there ended without an event."""
        self._ports.discard(port)
        for fd in [fd for fd, one in self._owned.items() if one.port == port]:
            del self._owned[fd]
            self._ahead.discard(fd)
        for fd in [fd for fd, remote in self._silent.items() if remote and remote[2] == port]:
            del self._silent[fd]

    def count_at(self, port: int) -> int:
        """How many came in there and are somebody's."""
        return sum(one.port == port for one in self._owned.values())

    def check_invariants(self) -> None:
        assert not self._silent.keys() & self._owned.keys()
        assert self._ahead <= self._owned.keys()

    def holds(self, connection: Connection) -> bool:
        """Whether it is still there."""
        return self._owned.get(connection.fd) is connection

    def cut_owner(self, owner: str, others: Iterable[Connection] = ()) -> int:
        """Cut all that this key holds, and `others`; returns how many there were to be cut."""
        theirs = {one for one in self._owned.values() if one.owner == owner}
        return sum(map(self.cut, theirs.union(others)))

    def cut_silent(self) -> int:
        """Cut those that never said anything: nobody knows whose they are. Honest ones redial."""
        silent = list(self._silent.items())
        return sum(cut(fd, remote) for fd, remote in silent if remote is not None)

    def cut(self, connection: Connection) -> bool:
        """True when it was there to be cut."""
        return cut(connection.fd, connection.remote)

    def _remote_of(self, fd: int) -> Remote | None:
        """Where it comes from, if `fd` is a live connection that came in at a port of ours."""
        duplicate = _duplicate(fd)
        if duplicate is None:
            return None
        with duplicate:
            try:
                remote = _ends_of(duplicate)
            except OSError:
                return None
        return remote if remote[2] in self._ports else None


def cut(fd: int, remote: Remote) -> bool:
    """Hang up, provided that the descriptor is still this connection."""
    duplicate = _duplicate(fd)
    if duplicate is None:
        return False
    with duplicate:
        try:
            if _ends_of(duplicate) != remote:
                return False
            duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:  # it ended on its own
            return False
    return True


def _duplicate(fd: int) -> socket.socket | None:
    if fd < 0:
        return None
    try:
        copy = os.dup(fd)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def _ends_of(connection: socket.socket) -> Remote:
    host, port = connection.getpeername()[:2]
    return str(host), int(port), int(connection.getsockname()[1])
