"""Sealed streams: chunks in order, unchanged, to the end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import HOUR_MS, NOW_MS, key

from keys.sealing import (
    ChunkOpener,
    ChunkSealer,
    SealedStreamBroken,
    direction_key,
    new_session_key,
)

ADA, BOB = key(11).peer_id, key(12).peer_id
KEY = bytes(range(32))


def sealed(*chunks: bytes, apart_ms: int = 0) -> list[bytes]:
    sealer = ChunkSealer(KEY, NOW_MS)
    last = len(chunks) - 1
    return [
        sealer.seal(chunk, NOW_MS + n * apart_ms, is_last=n == last)
        for n, chunk in enumerate(chunks)
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=100), min_size=1, max_size=10))
def test_chunks_come_out_as_they_went_in(chunks: list[bytes]) -> None:
    opener = ChunkOpener(KEY)
    assert [opener.open(c) for c in sealed(*chunks, apart_ms=HOUR_MS)] == chunks
    opener.finish()


def test_each_hour_has_a_key_of_its_own() -> None:
    """The key that is in memory after the change does not open what came before."""
    opener, chunks = ChunkOpener(KEY), sealed(b"a", b"b", b"c", b"d", apart_ms=HOUR_MS)
    assert opener._state is None
    opener.open(chunks[0])
    assert opener._state is not None
    before = bytes(opener._state.statebuf)[:32]
    opener.open(chunks[1])
    assert bytes(opener._state.statebuf)[:32] != before


@pytest.mark.parametrize(
    "order", [(1,), (0, 2), (0, 0), (0, 2, 1), (0, 1, 2, 2), (1, 0)], ids=lambda o: str(o)
)
def test_a_chunk_out_of_its_place_is_refused(order: tuple[int, ...]) -> None:
    chunks, opener = sealed(b"a", b"b", b"c"), ChunkOpener(KEY)
    with pytest.raises(SealedStreamBroken):
        for place in order:
            opener.open(chunks[place])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 8 * len(sealed(b"text", b"")[0]) - 1))
def test_a_changed_bit_is_refused(bit: int) -> None:
    changed = bytearray(sealed(b"text", b"")[0])
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealedStreamBroken):
        ChunkOpener(KEY).open(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(SealedStreamBroken):
        ChunkOpener(KEY).open(data)


def test_an_end_that_was_cut_off_is_seen() -> None:
    opener = ChunkOpener(KEY)
    for chunk in sealed(b"a", b"b", b"c")[:2]:
        opener.open(chunk)
    with pytest.raises(SealedStreamBroken, match="cut off"):
        opener.finish()
    with pytest.raises(SealedStreamBroken, match="cut off"):
        ChunkOpener(KEY).finish()


def test_the_directions_and_the_pairs_have_different_keys() -> None:
    session, eve = new_session_key(), key(13).peer_id
    keys = {
        direction_key(session, *pair)
        for pair in ((ADA, BOB), (BOB, ADA), (ADA, eve), (eve, ADA), (BOB, eve))
    }
    assert len(keys) == 5
    with pytest.raises(SealedStreamBroken):
        chunk = ChunkSealer(direction_key(session, ADA, BOB), NOW_MS).seal(b"x", NOW_MS)
        ChunkOpener(direction_key(session, BOB, ADA)).open(chunk)


def test_one_stream_does_not_open_with_the_key_of_another() -> None:
    chunk = ChunkSealer(direction_key(new_session_key(), ADA, BOB), NOW_MS).seal(b"x", NOW_MS)
    with pytest.raises(SealedStreamBroken):
        ChunkOpener(direction_key(new_session_key(), ADA, BOB)).open(chunk)
