"""The vectors of p2p/PROTOCOL.md, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2p.links import frame_of
from p2p.pubsub.messages import encode_run
from p2p.wire import (
    Envelope,
    Kind,
    Priority,
    TraceContext,
    decode_frame,
    encode_envelope,
    encode_fault,
    encode_payload,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "p2p" / "PROTOCOL.md"
TRACE = TraceContext(bytes(range(1, 17)), bytes(range(1, 9)), 1).to_bytes()
BEAT = encode_payload((1048576, 1, 0, 0, 1700000000000, b""))
ENVELOPES = {
    "request": Envelope(Kind.REQUEST, 7, 42, "agents.call", 1500, Priority.NORMAL, TRACE, b"hi"),
    "reply": Envelope(Kind.REPLY, 7, 43, "", 0, Priority.NORMAL, b"", b"\x05"),
    "fault": Envelope(Kind.FAULT, 7, 44, "", 0, 1, b"", encode_fault(KeyError("x"), "")),
    "cancel": Envelope(Kind.CANCEL, 7, 45, "", 0, 1, b"", b""),
    "notify": Envelope(Kind.NOTIFY, 0, 1, "presence.heartbeat", 0, 1, b"", BEAT),
    "publication": Envelope(Kind.PUBLICATION, 9, 3, "news", 0, 1, b"", encode_run([b"hi", None])),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_the_document_and_the_code_agree(name: str) -> None:
    found = re.search(rf"^{name} +([0-9a-f]+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert found is not None
    data = bytes.fromhex(found.group(1))
    assert encode_envelope(ENVELOPES[name]) == data
    assert decode_frame(data) == ([ENVELOPES[name]], [])


def test_all_vectors_make_one_frame() -> None:
    frame = frame_of(list(map(encode_envelope, ENVELOPES.values())))
    assert decode_frame(frame) == (list(ENVELOPES.values()), [])
