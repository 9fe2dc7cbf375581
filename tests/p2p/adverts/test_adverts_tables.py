"""Tables of adverts: the owner's, the reader's, and both against a plain dict."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import PeerId
from p2p import MisuseError, PayloadTooLarge
from p2p.adverts import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_TABLE_BYTES,
    OwnTable,
    Page,
    Tables,
    decode_page,
    digest_of,
    encode_page,
    read_digest,
)
from p2p.adverts.tables import REPAIR_EVERY_MS, Wish

ANN = PeerId("a" * 52)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["set", "gone", "page", "push", "lost push", "start"]),
        st.integers(0, 5),
        st.binary(max_size=20),
    ),
    max_size=60,
)


def catch_up(own: OwnTable, tables: Tables, limit_bytes: int = 64) -> int:
    """Ask for pages as a reader does, until there is no more; return how many."""
    for number in range(1, 1000):
        incarnation, version = tables.standing(ANN)
        since = version if incarnation == own.incarnation else 0
        page = decode_page(encode_page(own.since(since, limit_bytes)))
        assert page is not None
        _, wish = tables.take(ANN, page)
        if wish is Wish.NOTHING:
            return number
    raise AssertionError("it never ends")


def beat(own: OwnTable, tables: Tables, now_ms: int = 0) -> Wish:
    return tables.heard(ANN, own.incarnation, own.digest(), now_ms)


@given(EVENTS)
def test_a_reader_ends_where_the_owner_is_whatever_was_lost(
    events: list[tuple[str, int, bytes]],
) -> None:
    own, tables, told = OwnTable(1), Tables(), 0
    model: dict[str, bytes] = {}
    seen: dict[str, bytes | None] = {}
    for what, number, data in events:
        name = f"agent {number}"
        match what:
            case "set":
                own.set({name: data})
                model[name] = data
            case "gone":
                own.set({name: None})
                model.pop(name, None)
            case "start":
                own, told, model = OwnTable(own.incarnation + 1), 0, {}
            case "lost push":
                told = own.version
            case "push" | "page":
                since = told if what == "push" else tables.standing(ANN)[1]
                changes, _ = tables.take(ANN, own.since(since, 40))
                seen.update(changes)
                told = own.version
        own.check_invariants()
        tables.check_invariants()
        held = {name: entry for name, entry in seen.items() if entry is not None}
        assert tables.entries_of(ANN) == held, "what was told of changes is what is held"
    if beat(own, tables) is Wish.ASK:
        catch_up(own, tables)
    assert tables.entries_of(ANN) == own.live() == model
    assert beat(own, tables) is Wish.NOTHING
    assert tables.counts["digest_wrong"] == 0


def test_a_change_of_one_of_many_costs_the_bytes_of_that_one() -> None:
    own = OwnTable(1)
    own.set({f"agent {n}": b"x" * 100 for n in range(500)})
    before = own.version
    assert own.set({f"agent {n}": b"x" * 100 for n in range(500)}) == 0, "nothing is new in this"
    own.set({"agent 7": b"y" * 100})
    said = encode_page(own.since(before))
    assert len(said) < 130
    assert decode_page(said) == Page(1, 500, 501, 501, (("agent 7", b"y" * 100),))


def test_pages_are_small_and_one_large_entry_still_travels() -> None:
    own, tables = OwnTable(1), Tables()
    own.set({f"agent {n}": b"x" * 100 for n in range(500)})
    own.set({"large": b"x" * MAX_ENTRY_BYTES})
    assert len(encode_page(own.since(0))) < 17 * 1024
    pages = catch_up(own, tables, 16 * 1024)
    assert pages == 5
    assert tables.entries_of(ANN) == own.live()


def test_what_changes_between_two_pages_comes_with_a_later_one() -> None:
    own, tables = OwnTable(1), Tables()
    own.set({"a": b"1", "b": b"1", "c": b"1"})
    tables.take(ANN, own.since(0, 1))
    own.set({"a": b"2", "b": None})
    catch_up(own, tables, 1)
    assert tables.entries_of(ANN) == {"c": b"1", "a": b"2"}
    assert beat(own, tables) is Wish.NOTHING


def test_another_start_takes_away_what_the_one_before_offered() -> None:
    own, tables = OwnTable(1), Tables()
    own.set({"a": b"1", "b": b"1"})
    catch_up(own, tables)
    later = OwnTable(2)
    later.set({"b": b"2"})
    changes, _ = tables.take(ANN, later.since(0))
    assert changes == {"a": None, "b": b"2"}
    assert tables.take(ANN, own.since(0)) == ({}, Wish.NOTHING), "the one before is over"
    assert tables.counts["stale"] == 1


def test_a_wrong_digest_has_the_table_asked_for_anew_once_a_minute() -> None:
    own, tables = OwnTable(1), Tables()
    own.set({"a": b"1", "b": b"1"})
    tables.take(ANN, Page(1, 0, 2, 2, (("a", b"1"), ("strange", b"1"))))
    assert beat(own, tables, 0) is Wish.ASK
    changes, _ = tables.take(ANN, own.since(0))
    assert changes == {"a": b"1", "b": b"1", "strange": None}
    assert beat(own, tables, 1) is Wish.NOTHING
    lie = (2).to_bytes(8, "big") + b"x" * 16
    tables.take(ANN, Page(1, 2, 3, 3, (("c", b"1"),)))
    lie = (3).to_bytes(8, "big") + b"x" * 16
    assert tables.heard(ANN, 1, lie, REPAIR_EVERY_MS - 1) is Wish.NOTHING
    assert tables.heard(ANN, 1, lie, REPAIR_EVERY_MS) is Wish.ASK


def test_a_peer_cannot_fill_our_memory() -> None:
    tables = Tables()
    many = tuple((f"agent {n}", b"") for n in range(MAX_ENTRIES + 1))
    tables.take(ANN, Page(1, 0, len(many), len(many), many))
    assert len(tables.entries_of(ANN)) == MAX_ENTRIES
    bob = PeerId("b" * 52)
    fat = tuple((f"agent {n}", b"x" * MAX_ENTRY_BYTES) for n in range(20))
    tables.take(bob, Page(1, 0, 20, 20, fat))
    assert sum(map(len, tables.entries_of(bob).values())) <= MAX_TABLE_BYTES
    too_fat = (("x", b"x" * (MAX_ENTRY_BYTES + 1)), ("n" * 129, b""))
    changes, _ = tables.take(PeerId("c" * 52), Page(1, 0, 2, 2, too_fat))
    assert set(changes.values()) == {None}
    tables.check_invariants()
    assert tables.heard(ANN, 1, (len(many)).to_bytes(8, "big") + b"x" * 16, 0) is Wish.NOTHING


def test_we_offer_no_more_than_others_keep() -> None:
    own = OwnTable(1)
    with pytest.raises(PayloadTooLarge, match="one agent"):
        own.set({"a": b"x" * (MAX_ENTRY_BYTES + 1)})
    with pytest.raises(PayloadTooLarge, match="all agents"):
        own.set({str(n): b"x" * MAX_ENTRY_BYTES for n in range(9)})
    with pytest.raises(MisuseError, match="4,096"):
        own.set({str(n): b"" for n in range(MAX_ENTRIES + 1)})
    assert own.version == 0


@pytest.mark.parametrize(
    "page",
    [
        Page(1, 5, 4, 9, ()),
        Page(1, 0, 9, 4, ()),
        Page(1, 3, 3, 9, ()),
        Page(1, 0, 1, 1, (("a", b""), ("b", b""))),
        Page(-1, 0, 1, 1, ()),
        Page(1, 0, 1, 2**63, ()),
    ],
)
def test_a_page_that_leads_nowhere_is_none(page: Page) -> None:
    assert decode_page(encode_page(page)) is None


def test_the_hash_of_a_table_depends_on_all_that_is_in_it_and_on_no_order() -> None:
    entries = {f"agent {n}": bytes([n]) for n in range(9)}
    order = list(entries)
    random.Random(1).shuffle(order)
    assert digest_of({name: entries[name] for name in order}) == digest_of(entries)
    assert digest_of({**entries, "agent 3": b""}) != digest_of(entries)
    assert digest_of({"a": b"bc"}) != digest_of({"ab": b"c"})
    own = OwnTable(1)
    own.set(dict(entries))
    assert read_digest(own.digest()) == (9, digest_of(entries))
    plain = bytes.fromhex("0000000161000000023231000000016200000000")
    said = hashlib.blake2b(plain, digest_size=16).digest()
    assert digest_of({"b": b"", "a": b"21"}) == said, "as p2p/PROTOCOL.md has it"
