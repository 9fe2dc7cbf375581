"""What p2p/PROTOCOL.md says of limits, codes and later versions is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2p import decode_payload, encode_payload
from p2p.adverts import MAX_ENTRIES, MAX_ENTRY_BYTES, MAX_NAME_CHARS, MAX_TABLE_BYTES
from p2p.discovery.advert import VERSION, network_tag
from p2p.links import frame_of
from p2p.membership import Heartbeat
from p2p.membership.heartbeat import MAX_BODY_BYTES
from p2p.transport.settings import TransportSettings
from p2p.wire import MAX_ENVELOPE_BYTES, BadFrame, FrameFault, Kind, Priority, decode_frame
from p2p.wire.envelope import MAX_ENVELOPES_IN_A_FRAME, MAX_TARGET_CHARS
from p2p.wire.faults import CODES, MAX_TEXT_CHARS

TEXT = (Path(__file__).resolve().parents[2] / "p2p" / "PROTOCOL.md").read_text(encoding="utf-8")
VECTORS = {
    name.strip(): bytes.fromhex(digits)
    for name, digits in re.findall(r"^([a-z]+(?: \d+)?) +([0-9a-f]{20,}|[0-9a-f]{12})$", TEXT, re.M)
}
REPLY = VECTORS["reply"]


def test_what_a_later_program_says_is_skipped_and_the_rest_counts() -> None:
    found, faults = decode_frame(frame_of([VECTORS["version 2"], REPLY, VECTORS["kind 99"]]))
    assert found == decode_frame(REPLY)[0]
    assert faults == [FrameFault.UNKNOWN_VERSION, FrameFault.UNKNOWN_KIND]


def test_a_tenth_field_is_ignored() -> None:
    assert decode_frame(b"\x9a" + REPLY[1:] + b"\xc0") == decode_frame(REPLY)


@pytest.mark.parametrize(
    "tail",
    [
        b"\xc1",
        b"\x99\x01",
        b"\x91\x80",
        b"\x92\x02\x81\x01\x02",
        b"\x92\x02\xd4\x00\x00",
        b"\xdc\x00\x41\x02" + 64 * b"\0",
    ],
    ids=["no msgpack", "cut short", "no version", "a map", "an extension", "65 items"],
)
def test_what_breaks_the_grammar_spoils_its_frame(tail: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_frame(frame_of([REPLY, tail]))


def test_a_longer_heartbeat_is_read_as_far_as_it_is_known() -> None:
    beat = Heartbeat(1 << 20, 42, b"digest", 1_700_000_000_000, b"status")
    said = decode_payload(encode_payload([*beat.to_wire(), "of a later version"]))
    assert Heartbeat.from_wire(said) == beat


def test_every_kind_priority_and_code_is_documented() -> None:
    kinds = dict(re.findall(r"^\| (\d) \| ([a-z]+)\b[^|]*\| [^|]*\|$", TEXT, re.MULTILINE))
    assert kinds == {str(int(kind)): kind.name.lower() for kind in Kind}
    assert ", ".join(f"{int(p)} {p.name.lower()}" for p in Priority) in TEXT
    outcomes = dict(re.findall(r"^\| `([a-z_]+)` \| [^|]+\| (definite|indefinite)", TEXT, re.M))
    assert outcomes == {c: "definite" if e.definite else "indefinite" for c, e in CODES.items()}


def test_the_documented_limits_are_those_of_the_code() -> None:
    settings = TransportSettings()
    assert settings.batch_bytes == 32 * 1024
    for limit in (
        f"at most {settings.frame_limit_bytes:,} bytes and {MAX_ENVELOPES_IN_A_FRAME:,} envelopes",
        f"up to {settings.batch_envelopes} envelopes or 32 KiB",
        f"1 to {settings.topic_bytes} bytes",
        f"str, <= {MAX_TARGET_CHARS} ",
        f"bin, <= {MAX_ENVELOPE_BYTES:,} ",
        f"last {MAX_TEXT_CHARS:,} characters",
        f"at most {MAX_BODY_BYTES} bytes",
        f"at most {MAX_ENTRIES:,} entries",
        f"each of at most {MAX_ENTRY_BYTES:,} bytes",
        f"{MAX_TABLE_BYTES:,} in all",
        f"a name of at most {MAX_NAME_CHARS} characters",
        f"`v={VERSION.decode()}`",
        f"first {len(network_tag('a' * 52))}\nhexadecimal digits",
    ):
        assert limit in TEXT, limit
