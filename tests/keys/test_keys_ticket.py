"""The one line: it survives a paste, a typing error is told, and its secret stays in it."""

from __future__ import annotations

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS, lab
from keys_vectors import SECRET, ticket

from keys import DoorAddress, Role, Ticket
from keys.errors import InvalidValue, TicketMalformed
from keys.ticket import PREFIX, _checksum, _text_of

TICKET = ticket()
LINE = TICKET.export_secret()
ALPHABET = string.ascii_letters + string.digits + "-_"

hosts = (
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
    | st.from_regex(r"[a-z][a-z0-9.-]{0,40}", fullmatch=True)
)


@given(
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=16, max_size=16),
    st.integers(1, 2**32 - 1),
    st.integers(0, 15),
    st.lists(st.tuples(hosts, st.integers(1, 65535)), max_size=4),
)
def test_a_ticket_reads_back_as_it_was(
    ticket_id: bytes, secret: bytes, expires_s: int, roles: int, doors: list[tuple[str, int]]
) -> None:
    made = Ticket.make(lab().trust.network_id, ticket_id, secret, expires_s, Role(roles), doors)
    line = made.export_secret()
    assert line.isascii()
    assert "\n" not in line
    assert Ticket.parse(line) == made


def test_a_usual_ticket_is_one_short_line() -> None:
    assert len(LINE) < 200
    host, port = TICKET.addresses[0]
    assert (host, port) == ("192.0.2.1", 4747)
    assert [str(each) for each in TICKET.addresses] == [
        "192.0.2.1:4747",
        "[fe80::1]:4747",
        "alpha.local:4747",
    ]
    assert TICKET.trust == lab().trust


def test_every_single_wrong_character_is_noticed() -> None:
    for position in range(len(LINE)):
        for other in ALPHABET:
            if other != LINE[position]:
                with pytest.raises(TicketMalformed):
                    Ticket.parse(LINE[:position] + other + LINE[position + 1 :])


def test_two_swapped_or_missing_characters_are_noticed() -> None:
    for at in range(len(LINE) - 1):
        swapped = LINE[:at] + LINE[at + 1] + LINE[at] + LINE[at + 2 :]
        for wrong in {swapped, LINE[:at], LINE[:at] + LINE[at + 1 :]} - {LINE}:
            with pytest.raises(TicketMalformed):
                Ticket.parse(wrong)


def test_blanks_and_line_breaks_of_a_paste_are_forgiven() -> None:
    assert Ticket.parse(f"  {LINE[:50]}\n   {LINE[50:]}\r\n") == TICKET


@pytest.mark.parametrize(
    "line", ["", "conclave", "conclave2-AAAA", PREFIX, PREFIX + "!", "x" * 9999]
)
def test_something_else_is_no_ticket(line: str) -> None:
    with pytest.raises(TicketMalformed):
        Ticket.parse(line)


@given(st.text(max_size=80) | st.text(ALPHABET, max_size=200).map(lambda text: PREFIX + text))
def test_random_text_is_no_ticket(line: str) -> None:
    with pytest.raises(TicketMalformed):
        Ticket.parse(line)


@given(st.binary(max_size=120))
def test_any_contents_with_a_right_checksum_are_a_ticket_or_malformed(body: bytes) -> None:
    line = PREFIX + _text_of(body + _checksum(body))
    with contextlib.suppress(TicketMalformed):
        assert Ticket.parse(line).export_secret() == line


def test_neither_text_nor_errors_show_the_secret() -> None:
    with pytest.raises(TicketMalformed) as refused:
        Ticket.parse(LINE[:-1] + "!")
    for text in (repr(TICKET), str(TICKET), str(refused.value), f"{TICKET}"):
        assert SECRET.hex() not in text
        assert repr(SECRET)[2:-1] not in text
        assert LINE[70:90] not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"addresses": [("h", 1)] * 5},
        {"addresses": [("a b", 1)]},
        {"addresses": [("", 1)]},
        {"addresses": [("h", 0)]},
        {"addresses": [("h", 65536)]},
        {"ticket_id": b""},
        {"secret": b""},
        {"expires_s": 0},
        {"expires_s": 2**32},
    ],
)
def test_a_ticket_out_of_its_bounds_is_not_made(changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "network_id": lab().trust.network_id,
        "ticket_id": b"12345678",
        "secret": SECRET,
        "expires_s": NOW_MS // 1000,
        "roles": Role.SERVICE,
        "addresses": [],
    }
    with pytest.raises(InvalidValue):
        Ticket.make(**{**arguments, **changes})  # type: ignore[arg-type]


def test_an_address_is_written_one_way() -> None:
    made = Ticket.make(
        lab().trust.network_id, b"12345678", SECRET, 1, Role.SERVICE, [("FE80:0::1", 1)]
    )
    assert made.addresses == (DoorAddress("fe80::1", 1),)
