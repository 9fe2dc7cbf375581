"""Whose connection a descriptor is, with events that come late and descriptors that come back."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from p2p.transport.connections import Connections
from p2p.transport.liveness import CAN_LOOK


class Listener:
    """A real one, whose accepted sockets we hold ourselves."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.open: list[socket.socket] = [self.server]

    def accept(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new connection: theirs and ours."""
        theirs = socket.create_connection(("127.0.0.1", self.port))
        ours, _ = self.server.accept()
        theirs.settimeout(5)
        self.open += [theirs, ours]
        return theirs, ours

    def replace(self, old: socket.socket) -> tuple[socket.socket, socket.socket]:
        """Close one and accept another that gets its descriptor."""
        theirs = socket.create_connection(("127.0.0.1", self.port))
        accepted, _ = self.server.accept()
        fd = old.detach()
        os.dup2(accepted.fileno(), fd)
        accepted.close()
        ours = socket.socket(fileno=fd)
        theirs.settimeout(5)
        self.open += [theirs, ours]
        return theirs, ours


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    for one in made.open:
        one.close()


def is_cut(theirs: socket.socket) -> bool:
    theirs.setblocking(False)
    try:
        return theirs.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_connections_of_a_key_are_cut_and_no_others(listener: Listener) -> None:
    table = Connections(listener.port)
    pairs = [listener.accept() for _ in range(3)]
    for _, ours in pairs:
        table.accepted(ours.fileno())
    for owner, (_, ours) in zip(("ada", "bob", "ada"), pairs, strict=True):
        assert table.attribute(ours.fileno(), owner) is not None
    assert table.cut_owner("ada") == 2
    assert [is_cut(theirs) for theirs, _ in pairs] == [True, False, True]
    table.check_invariants()


def test_silent_connections_are_cut_apart(listener: Listener) -> None:
    table = Connections(listener.port)
    pairs = [listener.accept() for _ in range(2)]
    for _, ours in pairs:
        table.accepted(ours.fileno())
    table.attribute(pairs[0][1].fileno(), "ada")
    assert table.cut_silent() == 1
    assert [is_cut(theirs) for theirs, _ in pairs] == [False, True]


def test_a_connection_that_ended_is_forgotten_while_its_descriptor_is_still_open(
    listener: Listener,
) -> None:
    table = Connections(listener.port)
    _, ours = listener.accept()
    table.accepted(ours.fileno())
    connection = table.attribute(ours.fileno(), "ada")
    assert connection is not None
    assert table.holds(connection)
    table.disconnected(ours.fileno())
    assert not table.holds(connection)
    assert len(table) == 0


def test_late_events_of_a_predecessor_do_not_remove_its_successor(listener: Listener) -> None:
    table = Connections(listener.port)
    _, first = listener.accept()
    fd = first.fileno()
    table.accepted(fd)
    old = table.attribute(fd, "ada")
    listener.replace(first)
    new = table.attribute(fd, "bob")
    assert old is not None
    assert new is not None
    assert not table.holds(old)
    for late in (table.disconnected, table.accepted):
        late(fd)
        table.check_invariants()
        assert table.holds(new)
    table.disconnected(fd)
    assert not table.holds(new)


def test_a_message_may_be_read_before_its_connection_is_announced(listener: Listener) -> None:
    table = Connections(listener.port)
    theirs, ours = listener.accept()
    connection = table.attribute(ours.fileno(), "ada")
    table.accepted(ours.fileno())
    assert connection is not None
    assert table.holds(connection)
    assert table.cut_silent() == 0
    assert table.cut_owner("ada") == 1
    assert is_cut(theirs)


def test_a_descriptor_that_now_belongs_to_another_is_not_cut(listener: Listener) -> None:
    table = Connections(listener.port)
    _, ours = listener.accept()
    table.accepted(ours.fileno())
    connection = table.attribute(ours.fileno(), "ada")
    theirs, _ = listener.replace(ours)
    assert connection is not None
    assert not table.cut(connection)
    assert not is_cut(theirs)


def test_a_descriptor_of_another_listener_or_none_at_all_is_nobodys(listener: Listener) -> None:
    table = Connections(listener.port + 1)
    _, ours = listener.accept()
    assert table.attribute(ours.fileno(), "ada") is None
    assert table.attribute(-1, "ada") is None
    assert table.attribute(10_000, "ada") is None
    with open(__file__) as not_a_socket:
        assert table.attribute(not_a_socket.fileno(), "ada") is None


def test_a_number_that_is_now_another_kind_of_socket_is_none_of_ours(listener: Listener) -> None:
    table = Connections(listener.port)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        table.accepted(ours.fileno())
        assert table.cut_silent() == 0
        assert theirs.send(b"still here") == 10


def test_late_words_of_a_predecessor_do_not_keep_its_successor_for_ever(
    listener: Listener,
) -> None:
    connections = Connections(listener.port)
    _, ours = listener.accept()
    fd = ours.fileno()
    connections.accepted(fd)
    connections.attribute(fd, "who had this descriptor before")
    connections.attribute(fd, "who has it now")
    assert connections.count_at(listener.port) == 1
    connections.check_invariants()
    connections.disconnected(fd)
    assert connections.count_at(listener.port) == len(connections) == 0


def test_who_is_gone_without_a_word_is_not_waited_for(listener: Listener) -> None:
    connections = Connections(listener.port)
    _, ours = listener.accept()
    connections.accepted(ours.fileno())
    connections.attribute(ours.fileno(), "ada")
    ours.close()
    assert connections.count_at(listener.port) == 0


@pytest.mark.skipif(not CAN_LOOK, reason="the system does not say")
def test_only_what_was_read_counts_for_a_message_without_end(listener: Listener) -> None:
    """What waits in the system may be whole messages, for a thread that the processor has not."""
    connections = Connections(listener.port)
    theirs, ours = listener.accept()
    connections.accepted(ours.fileno())
    connections.attribute(ours.fileno(), "ada")
    assert connections.cut_unfinished(10_000, lambda: True) == 0
    theirs.sendall(bytes(20_000))
    assert len(ours.recv(20_000, socket.MSG_PEEK | socket.MSG_WAITALL)) == 20_000, "it is there"
    assert connections.cut_unfinished(10_000, lambda: True) == 0
    assert len(ours.recv(20_000, socket.MSG_WAITALL)) == 20_000
    assert connections.cut_unfinished(10_000, lambda: False) == 0
    assert connections.cut_unfinished(10_000, lambda: True) == 1
    assert is_cut(theirs)
