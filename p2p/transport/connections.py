"""Incoming TCP connections of one listener: whose they are, and how to cut one.

libzmq never asks ZAP again about a live connection, so taking a key off the allow-list keeps its
holder out only the next time. The connection itself is cut by `shutdown` on a duplicate of its
file descriptor: libzmq sees the other side hang up, neighbours notice nothing.

File descriptors are reused, and the monitor's events are late: a message of a new connection may
be read before the events that the old one ended and the new one began. Hence `_ahead`: what was
learnt from a message before its ACCEPTED came survives the DISCONNECTED of its predecessor. Every
entry holds the remote address and our own port beside the descriptor, and nothing is cut unless
both still fit. A listener has one port, or two while keys rotate.

Two more things are seen here and nowhere else, since libzmq tells nobody. A message of many parts
is held by it until the last part has come, however many there are: a connection of which it has
read much that completed nothing is cut (`cut_unfinished`). And who opens connections and says
nothing uses up the descriptors of the process: when they run short the oldest silent ones are cut
(`shed`).

Does not know: peers, routing ids, messages; `owner` is the user id that ZAP gave to the key.
Invariants: a descriptor is silent or owned or neither; one that is ahead is owned.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Remote = tuple[str, int, int]  # their host and port, our port

_CROWDED = 0.8  # of the descriptors that the process may have
_RECEIVED_AT = 128  # of `tcpi_bytes_received` in Linux's `struct tcp_info`


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
        self._crowded_fd = crowded_fd()
        self.fresh: set[int] = (
            set()
        )  # descriptors that a whole message came over since the last look
        self._received: dict[int, int] = {}  # bytes, when it was last seen fresh

    def __len__(self) -> int:
        return len(self._silent) + len(self._owned)

    def accepted(self, fd: int) -> None:
        """A connection came in."""
        if fd in self._ahead:
            self._ahead.remove(fd)  # and we know already whose it is
            return
        self._owned.pop(fd, None)
        self._silent.pop(fd, None)
        self._silent[fd] = self._remote_of(fd)
        self._received.pop(fd, None)

    def attribute(self, fd: int, owner: str) -> Connection | None:
        """A message of `owner` came over `fd`. None when that connection is gone already."""
        remote = self._remote_of(fd)
        if remote is None:
            return None
        known = self._owned.get(fd)
        if known is not None and known.remote == remote and known.owner == owner:
            return known
        # Late words of a predecessor may have given this very connection to another owner before.
        is_known = known is not None and known.remote == remote
        if self._silent.pop(fd, None) != remote and not is_known:
            self._ahead.add(fd)
        connection = self._owned[fd] = Connection(fd, remote, sys.intern(owner))
        return connection

    def shed_for(self, fd: int) -> int:
        """`fd` came in; a high number says that descriptors run short, since the system gives out
        the lowest. The other way round it does not hold: see `are_short`."""
        return self.shed() if fd >= self._crowded_fd else 0

    def shed(self) -> int:
        """Cut the older half of those that never said anything."""
        older = list(self._silent.items())[: (len(self._silent) + 1) // 2]
        return sum(cut(old, remote) for old, remote in older if remote is not None)

    def cut_unfinished(self, limit_bytes: int, has_read_all: Callable[[], bool]) -> int:
        """Cut those of which libzmq has read so much since their last whole message, unless whole
        ones wait to be read by us; that is asked only when it matters."""
        overdue: list[tuple[int, Remote]] = []
        remotes = {fd: remote for fd, remote in self._silent.items() if remote is not None}
        remotes |= {fd: one.remote for fd, one in self._owned.items()}
        for fd, remote in remotes.items():
            received = received_bytes(fd)
            before = self._received.setdefault(fd, 0 if fd in self._silent else received)
            if fd in self.fresh:
                self._received[fd] = received
            elif has_read_over(limit_bytes, fd, received - before):
                overdue.append((fd, remote))
        self.fresh.clear()
        if not overdue or not has_read_all():
            return 0
        return sum(cut(fd, remote) for fd, remote in overdue)

    def disconnected(self, fd: int) -> None:
        """A connection ended."""
        self._received.pop(fd, None)
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
        """How many came in there, are somebody's, and are still there: of one whose descriptor was
        used again at once the end may have been missed."""
        return sum(
            one.port == port and self._remote_of(one.fd) == one.remote
            for one in self._owned.values()
        )

    def count_silent_at(self, port: int) -> int:
        """And how many of whom nothing was read yet, and who are still there."""
        return sum(
            remote is not None and remote[2] == port and self._remote_of(fd) == remote
            for fd, remote in self._silent.items()
        )

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
        with _held(fd) as held:
            if held is None:
                return None
            try:
                remote = _ends_of(held)
            except OSError:
                return None
        return remote if remote[2] in self._ports else None


def cut(fd: int, remote: Remote) -> bool:
    """Hang up, provided that the descriptor is still this connection."""
    with _held(fd) as held:
        if held is None:
            return False
        try:
            if _ends_of(held) != remote:
                return False
            held.shutdown(socket.SHUT_RDWR)
        except OSError:  # it ended on its own
            return False
    return True


def received_bytes(fd: int) -> int:
    """What came over it since it was made, read by us or not; 0 where the system does not say."""
    if fd < 0 or not hasattr(socket, "TCP_INFO"):
        return 0
    try:
        # Each connection is asked again and again, so without a duplicate, and with a kind that
        # need not be looked up. If libzmq closes it meanwhile, it is an error or another's number,
        # and nothing is cut that is not what it was.
        held = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    except OSError:
        return 0
    try:
        told = held.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)
    except OSError:
        return 0
    finally:
        held.detach()
    if len(told) < _RECEIVED_AT + 8:  # a Linux before 4.1, or another system
        return 0
    received: int = struct.unpack_from("=Q", told, _RECEIVED_AT)[0]
    return received


def has_read_over(limit_bytes: int, fd: int, received: int) -> bool:
    """Whether libzmq has read more than this of so much that came. What it has not read costs us
    nothing, and may be whole messages: where its thread does not get the processor, the system
    keeps tens of megabytes for it."""
    return received > limit_bytes and received - _unread_bytes(fd) > limit_bytes


def _unread_bytes(fd: int) -> int:
    try:
        import fcntl
        import termios

        told = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    except (ImportError, OSError, ValueError):  # not on Windows; it is closed
        return 0
    unread: int = struct.unpack("=i", told)[0]
    return unread


def crowded_fd() -> int:
    """The descriptor from which on there are too many."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 1 << 31
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 31 if soft == resource.RLIM_INFINITY else int(soft * _CROWDED)


def are_short(connections: int) -> bool:
    """Whether the process is about to run out of descriptors, where it has so many connections."""
    limit = crowded_fd()
    if connections < limit // 4:
        return False
    try:
        return len(os.listdir("/proc/self/fd")) >= limit
    except OSError as error:  # none is left to look with; or it is not Linux
        return error.errno == errno.EMFILE or connections >= limit


@contextmanager
def _held(fd: int) -> Iterator[socket.socket | None]:
    """The connection behind a descriptor, by a duplicate: libzmq may close its own meanwhile.

    Where no descriptor is left to duplicate it, the descriptor itself. At worst another connection
    is cut, which dials anew; and that is when it matters most that some can be cut.
    """
    if fd < 0:
        yield None
        return
    copy, is_ours = fd, False
    try:
        copy, is_ours = os.dup(fd), True
    except OSError as error:
        if error.errno != errno.EMFILE:
            yield None
            return
    try:
        held = socket.socket(fileno=copy)
    except OSError:
        if is_ours:
            os.close(copy)
        yield None
        return
    try:
        yield held
    finally:
        if is_ours:
            held.close()
        else:
            held.detach()


def _ends_of(connection: socket.socket) -> Remote:
    """
    Raises:
        OSError: it has ended, or its number is now that of another kind of socket.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        raise OSError(errno.EBADF, "not a TCP connection")
    host, port = connection.getpeername()[:2]
    return sys.intern(str(host)), int(port), int(connection.getsockname()[1])
