"""One that was revoked while it was away is shown the list that says so, signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from admission_door_lab import Host, with_host
from admission_lab import NOW_MS, Heard, dialer, door, framed, meet, network, nonce, said, written

from keys import (
    Chain,
    Entry,
    ListInForce,
    Revocations,
    decode_id,
    entry_of_key,
    next_list,
    pack_list,
    read_list,
)
from p2p.admission import Credentials, DoorHandshake, RefusalCode, SessionTable, Told, introduce
from p2p.admission.messages import MAX_PART_BYTES, MAX_PARTS, ListPart, Refusing
from p2p.errors import IntroductionFailed

NET = network()
BAD = NET.member(11)


def listed(*more: Entry) -> ListInForce:
    key_id = decode_id(BAD.peer_id)
    entry = entry_of_key(key_id, NET.middle, NOW_MS, reason="stolen")
    chain = Chain((NET.middle, NET.top))
    return next_list(NET.issuer, chain, Revocations(), (entry, *more), NOW_MS)


def knowing(credentials: Credentials, each: ListInForce) -> Credentials:
    trust = replace(credentials.trust, revocations=Revocations().taking(each))
    return replace(credentials, trust=trust)


def told(heard: Heard) -> list[bytes]:
    return [each.packed for each in heard.effects if isinstance(each, Told)]


@pytest.mark.parametrize("chunk_bytes", [1, 4000, 100_000])
def test_the_door_shows_the_list_behind_its_refusal(chunk_bytes: int) -> None:
    each = listed()
    called, heard = meet(dialer(BAD), door(knowing(NET.member(10), each)), chunk_bytes=chunk_bytes)
    assert called.sessions == heard.sessions == []
    assert (called.code, heard.code) == (RefusalCode.CERTIFICATE, RefusalCode.CERTIFICATE)
    assert told(called) == [pack_list(each)]
    assert read_list(told(called)[0], BAD.trust, NOW_MS).place == each.place
    assert "stolen" in called.refusal_text


def test_the_longest_list_fits() -> None:
    many = [
        entry_of_key(bytes([n // 256, n % 256]) * 16, NET.middle, NOW_MS, reason="x" * 5)
        for n in range(990)
    ]
    each = listed(*many)
    assert len(pack_list(each)) > 60_000
    called, _ = meet(dialer(BAD), door(knowing(NET.member(10), each)))
    assert told(called) == [pack_list(each)]


def test_who_shows_the_papers_of_another_is_told_no_list() -> None:
    """Papers are public; only the proof makes them its own."""
    caller, callee = dialer(BAD), door(knowing(NET.member(10), listed()))
    hello = callee.receive(written(caller.start()), NOW_MS)
    shown = written(caller.receive(written(hello), NOW_MS))
    forged = shown[:-100] + bytes([shown[-100] ^ 1]) + shown[-99:]  # within the proof
    answer = said(callee.receive(forged, NOW_MS))
    assert [type(each) for each in answer] == [Refusing]


def test_the_same_one_is_told_once_in_a_while() -> None:
    each = listed()
    callee = DoorHandshake(
        knowing(NET.member(10), each),
        SessionTable(),
        nonce(2),
        hints=lambda peer_id: (),
        may_tell=lambda peer_id: False,
    )
    called, _ = meet(dialer(BAD), callee)
    assert told(called) == []
    assert called.code is None or called.code is RefusalCode.CERTIFICATE


def refused_then(*parts: bytes) -> Heard:
    """What a dialer makes of a door that refuses its certificate and goes on like this."""
    caller, callee = dialer(BAD), door(NET.member(10))
    effects = caller.receive(written(callee.receive(written(caller.start()), NOW_MS)), NOW_MS)
    effects += caller.receive(framed(Refusing(RefusalCode.CERTIFICATE, "no")), NOW_MS)
    for part in parts:
        effects += caller.receive(part, NOW_MS)
    caller.check_invariants()
    effects += caller.closed()
    return Heard(effects)


PART = b"p" * MAX_PART_BYTES


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [framed(ListPart(1, 3, PART))],
        [framed(ListPart(0, 3, PART)), framed(ListPart(2, 3, PART))],
        [framed(ListPart(0, 3, PART)), framed(ListPart(0, 3, PART))],
        [framed(ListPart(0, MAX_PARTS, PART))],
        [b"\xff" * 40],
        [framed(Refusing(RefusalCode.BUSY, "later"))],
        [framed(ListPart(n, MAX_PARTS, PART)) for n in range(MAX_PARTS - 1)],
    ],
)
def test_whatever_follows_a_refusal_it_stays_that_refusal(parts: list[bytes]) -> None:
    heard = refused_then(*parts)
    assert told(heard) == []
    assert heard.code is RefusalCode.CERTIFICATE
    assert heard.refusal is not None
    assert heard.refusal.theirs


def test_no_more_than_the_parts_is_taken() -> None:
    parts = [framed(ListPart(n, 2, PART)) for n in (0, 1)]
    heard = refused_then(*parts, *parts * 20)
    assert told(heard) == [PART * 2]


def test_a_refusal_for_another_reason_ends_it_at_once() -> None:
    caller, callee = dialer(BAD), door(NET.member(10))
    caller.receive(written(callee.receive(written(caller.start()), NOW_MS)), NOW_MS)
    heard = Heard(caller.receive(framed(Refusing(RefusalCode.BUSY, "no")), NOW_MS))
    assert heard.code is RefusalCode.BUSY
    assert caller.is_over


def test_over_tcp_it_is_told_twice_and_then_for_a_while_no_more() -> None:
    each = listed()

    async def test(host: Host) -> None:
        heard: list[bytes] = []
        for _ in range(4):
            with pytest.raises(IntroductionFailed, match="stolen"):
                await introduce("127.0.0.1", host.door.port, BAD, timeout_s=5, on_told=heard.append)
        assert heard == [pack_list(each)] * 2
        assert host.door.counters()["revoked_told"] == 2
        assert host.admitted == []

    with_host(test, credentials=knowing(NET.member(10), each))
