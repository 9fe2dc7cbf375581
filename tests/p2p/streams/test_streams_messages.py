"""What streams say, as bytes: the vectors of p2p/PROTOCOL.md, later versions, garbage, the past."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import decode_payload, encode_payload
from p2p.streams.messages import (
    MAX_JOINED,
    MAX_NUMBER,
    join_chunks,
    open_payload,
    read_open,
    read_say,
    say_payload,
    split_chunks,
)
from p2p.streams.past import REMEMBERED, Ended, Past
from p2p.streams.verbs import Say, Verb
from p2p.wire import Envelope, Kind, decode_fault, decode_frame, encode_envelope

TEXT = (Path(__file__).resolve().parents[3] / "p2p" / "PROTOCOL.md").read_text(encoding="utf-8")
MIB = 2**20
RESUME = Say(Verb.RESUME, 3, 8 * MIB, 1, 5, True)
RESUMED = Say(Verb.RESUMED, 5, 8 * MIB, 1, 2)
CHUNKS = [b"hi", b"", b"you"]
ENVELOPES = {
    "open": (15, 0, open_payload("files.put", b"", 8 * MIB)),
    "chunk": (15, 2, b"hi"),
    "chunks": (15, 2, join_chunks(CHUNKS)),
    "resume": (14, 3, say_payload(RESUME)),
    "resumed": (15, 5, say_payload(RESUMED)),
}
SAYS = (Verb.ACCEPT, Verb.CREDIT, Verb.RESUME, Verb.RESUMED)
counts = st.integers(0, MAX_NUMBER)


@pytest.mark.parametrize("name", ENVELOPES)
def test_the_document_and_the_code_agree(name: str) -> None:
    found = re.search(rf"^{name} +([0-9a-f]+)$", TEXT, re.MULTILINE)
    assert found is not None
    ident, sequence, payload = ENVELOPES[name]
    target = "" if name == "chunk" else name
    one = Envelope(Kind.STREAM, ident, sequence, target, 0, 1, b"", payload)
    assert encode_envelope(one).hex() == found.group(1)
    assert decode_frame(bytes.fromhex(found.group(1))) == ([one], [])


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.CHUNK])
def test_every_verb_is_in_the_document(verb: Verb) -> None:
    assert (
        f"| `{verb.value}`" in TEXT or f"`{verb.value}`, `" in TEXT or f", `{verb.value}`" in TEXT
    )


@given(st.sampled_from(SAYS), counts, counts, counts, counts, st.booleans())
def test_what_is_said_is_read(
    verb: Verb, expected: int, credit: int, epoch: int, sent: int, is_missing: bool
) -> None:
    if verb in (Verb.ACCEPT, Verb.CREDIT):
        epoch, sent = 0, 0
    say = Say(verb, expected, credit, epoch, sent, is_missing and verb is Verb.RESUME)
    assert read_say(verb, expected, say_payload(say)) == say


@pytest.mark.parametrize("verb", SAYS)
def test_what_a_later_version_writes_behind_is_ignored(verb: Verb) -> None:
    say = Say(verb, 1, 2)
    longer = encode_payload([*decode_payload(say_payload(say)), "new", {}])
    assert read_say(verb, 1, longer) == say
    assert read_open(encode_payload(["m", b"p", 3, "new"])) == ("m", b"p", 3)


@given(st.sampled_from(SAYS), st.binary(max_size=60))
def test_garbage_is_nothing(verb: Verb, data: bytes) -> None:
    said = read_say(verb, 0, data)
    assert said is None or said.credit <= MAX_NUMBER
    read_open(data)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["1"],
        [-1],
        [True],
        [1.0],
        [None],
        [2**63],
        [1, 2],
        [1, 2, -3, True],
        [1, 2, 3, 4],
        {},
        7,
    ],
)
def test_another_form_is_nothing(fields: object) -> None:
    assert read_say(Verb.RESUME, 0, encode_payload(fields)) is None


@pytest.mark.parametrize("fields", [[], ["m", b"", -1], ["m", "", 1], [b"m", b"", 1], ["m", b""]])
def test_an_open_of_another_form_is_nothing(fields: object) -> None:
    assert read_open(encode_payload(fields)) is None


ASKED = say_payload(Say(Verb.RESUME, 0, 0, 9, 0))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=MAX_JOINED))
def test_chunks_that_travel_together_are_the_same_chunks(chunks: list[bytes]) -> None:
    joined = join_chunks(map(memoryview, chunks))
    assert split_chunks(joined) == chunks
    assert split_chunks(joined[:-1]) is None


@given(st.binary(max_size=60))
def test_what_is_no_run_of_chunks_is_nothing(data: bytes) -> None:
    chunks = split_chunks(data)
    assert chunks is None or join_chunks(chunks) == data


def test_too_many_chunks_in_one_payload_are_nothing() -> None:
    assert split_chunks(join_chunks([b""] * (MAX_JOINED + 1))) is None
    assert split_chunks(b"") is None


def test_a_stream_that_was_done_is_answered_as_done() -> None:
    past = Past("ben")
    past.note(3, Ended(None, False, 7, 4))
    answer = past.answer(3, Verb.RESUME, 0, ASKED)
    assert answer is not None
    verb, payload, sequence = answer
    assert (verb, read_say(verb, sequence, payload)) == (
        Verb.RESUMED,
        Say(Verb.RESUMED, 7, 0, 9, 4),
    )


@pytest.mark.parametrize("verb", [Verb.OPEN, Verb.ACCEPT, Verb.RESUME])
def test_a_stream_that_was_aborted_is_aborted_again_with_the_same_words(verb: Verb) -> None:
    past = Past("ben")
    past.note(3, Ended(b"words"))
    assert past.answer(3, verb, 0, ASKED) == (Verb.ABORT, b"words", 0)
    past.note(5, Ended(b"words", is_refused=True))
    assert past.answer(5, verb, 0, ASKED) == (Verb.REFUSE, b"words", 0)


def test_what_is_not_known_is_new_or_gone() -> None:
    past = Past("ben")
    assert past.answer(3, Verb.OPEN, 0, b"") is None
    answer = past.answer(3, Verb.RESUME, 0, ASKED)
    assert answer is not None
    assert answer[0] is Verb.ABORT
    assert "not known here" in str(decode_fault(answer[1], "ben", "it"))
    for verb in (Verb.CHUNK, Verb.END, Verb.CREDIT, Verb.RESUMED, Verb.ABORT, Verb.REFUSE):
        assert past.answer(3, verb, 0, ASKED) is None


def test_the_past_has_a_bound() -> None:
    past = Past("ben")
    for ident in range(REMEMBERED + 5):
        past.note(ident, Ended(None))
    assert len(past) == REMEMBERED
    answer = past.answer(0, Verb.RESUME, 0, ASKED)
    assert answer is not None
    assert answer[0] is Verb.ABORT
