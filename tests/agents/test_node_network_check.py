"""`conclave doctor --network`: what peers try, what they tell, and what is made of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_lab import NodeLab, in_lab

from agents.network_check import Way, judge
from agents.network_check_service import (
    PAUSE_MS,
    REACH,
    Reach,
    Reached,
    decode_reach,
    encode_reach,
    word_of,
)
from p2p import Overloaded, PayloadError, encode_payload

A, B = "192.168.1.7", "fd00::7"
YES, REFUSED, SILENT, OTHER, SKIPPED = Reached


def way(label: str, words: dict[str, Reached], heard: bool | None = True, **more: object) -> Way:
    told = {"hears": True, "passes": True, "clock_ms": 0, **more}
    return Way(label, Reach(heard, words), "", **told)  # type: ignore[arg-type]


def found(*ways: Way) -> list[tuple[str, str, str, str]]:
    return [(f.level, f.topic, f.said, f.advice) for f in judge(ways, 4747)]


def test_all_is_well() -> None:
    said = found(way("bob", {A: YES}), way("cyd", {A: YES}))
    assert {level for level, *_ in said} == {"ok"}
    assert "reached by all 2" in said[0][2]


def test_alone() -> None:
    ((level, topic, _, advice),) = found()
    assert (level, topic) == ("warning", "network")
    assert "--seed" in advice


def test_silence_to_everybody_is_our_firewall() -> None:
    said = found(way("bob", {A: SILENT}), way("cyd", {A: SILENT}))
    assert "ufw allow 4747:4755/tcp" in said[0][3]


def test_silence_to_one_is_on_the_way_to_that_one() -> None:
    said = found(way("bob", {A: YES}), way("cyd", {A: SILENT}))
    assert "cyd" in said[0][2]
    assert "bob" not in said[0][2]
    assert "on the way to cyd" in said[0][3]


def test_an_address_that_two_have() -> None:
    said = found(way("bob", {A: OTHER}), way("cyd", {A: YES}))
    assert said[0][0] == "problem"
    assert "two machines have this address" in said[0][3]


def test_refused_over_ipv6_alone_is_what_we_listen_on() -> None:
    said = found(way("bob", {A: YES, B: REFUSED}))
    assert said[1][2] == f"[{B}]:4747 is refused to bob"
    assert "--host ::" in said[1][3]


def test_an_address_that_nobody_tried_is_not_judged() -> None:
    assert [topic for _, topic, *_ in found(way("bob", {A: SKIPPED}))] == ["mDNS"]


@pytest.mark.parametrize(
    ("heard", "hears", "word"),
    [
        (False, True, "never heard this node"),
        (True, False, "this node never heard"),
        (False, False, "multicast is kept back"),
    ],
)
def test_multicast_in_each_direction(heard: bool, hears: bool, word: str) -> None:
    said = [f for f in found(way("bob", {}, heard, hears=hears)) if f[1] == "mDNS"]
    assert all(level == "warning" for level, *_ in said)
    assert any(word in f[2] + f[3] for f in said)


def test_deaf_to_all_who_hear_us_is_our_own_firewall() -> None:
    said = found(way("bob", {}, hears=False), way("cyd", {}, hears=False))
    assert "5353/udp" in said[-1][3]


def test_large_packets_clocks_and_older_versions() -> None:
    old = Way("old", None, "it is of an older version and cannot be asked", True, True, None)
    said = found(way("bob", {}, passes=False, clock_ms=-90_000), old)
    text = " ".join(f[2] for f in said)
    for word in ("64 KiB to bob", "clock of bob is 90 s behind", "old was not heard out"):
        assert word in text


def test_words_of_failures() -> None:
    assert word_of("unreachable", "Connection refused") is REFUSED
    assert word_of("unreachable", "No route to host") is SILENT
    assert word_of("deadline", "no answer within 3 s") is SILENT
    assert word_of("other_peer", "") is OTHER
    assert word_of("busy", "") is SKIPPED


HOSTS = st.dictionaries(st.text(max_size=40), st.sampled_from(Reached), max_size=8)


@given(st.builds(Reach, st.none() | st.booleans(), HOSTS))
def test_an_answer_is_read_as_it_was_written(reach: Reach) -> None:
    assert decode_reach(encode_reach(reach)) == reach


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [1, []],
        [True, [[A]]],
        [True, [[A, "maybe"]]],
        [True, [["h" * 254, "yes"]]],
        [True, [[f"10.0.0.{n}", "yes"] for n in range(9)]],
    ],
)
def test_nonsense_is_refused(value: object) -> None:
    with pytest.raises(PayloadError):
        decode_reach(encode_payload(value))


def test_peers_try_our_addresses_once_in_a_while(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b = await lab.up("a"), await lab.up("b")
        while b.peer.peer_id not in a.peer.presence.present():
            await asyncio.sleep(0.1)
        said = await a.net.doctor(network=True)
        (reach,) = [f["said"] for f in said if f["topic"] == "reach"]
        assert f"{lab.worlds['a'].host}:" in reach
        assert "reached by all 1" in reach
        with pytest.raises(Overloaded, match="wait a moment"):
            await a.peer.request(b.peer.peer_id, REACH, b"", timeout_s=1.0)
        await asyncio.sleep(PAUSE_MS / 1000)
        again = decode_reach(await a.peer.request(b.peer.peer_id, REACH, b"", timeout_s=1.0))
        assert set(again.hosts.values()) == {YES}
        assert "reach" not in {f["topic"] for f in await a.net.doctor()}

    in_lab(tmp_path, scenario)
