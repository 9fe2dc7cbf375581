"""Harnesses for what members send: frames, payloads, and the values inside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fuzz_lab import Harness, as_payload

from agents.adverts import read_entry
from agents.busy import decode_machine
from agents.calling import messages as calling
from agents.deciding import wire as deciding_wire
from agents.deciding.opening import Wish
from agents.hosting.host import read_arguments
from agents.hosting.values import from_bytes
from agents.keeping import wire as keeping
from agents.keeping.watching import read_changes
from agents.local import frames as local
from agents.network_check_service import Reach, Reached, decode_reach, encode_reach
from agents.revoking import Wish as RevocationWish
from agents.scheduling import reports
from agents.tasking import wire as tasking
from p2p import BadRequest, PayloadError, decode_payload
from p2p.members import messages as members
from p2p.membership.heartbeat import Heartbeat
from p2p.membership.swim import decode_message
from p2p.pubsub import messages as pubsub
from p2p.streams import messages as streams
from p2p.streams.verbs import Verb
from p2p.transport.words import Verb as WordVerb
from p2p.transport.words import Word, decode_word
from p2p.trusting import messages as trusting
from p2p.wire.envelope import BadFrame, Envelope, decode_frame, encode_envelope
from p2p.wire.faults import decode_fault
from p2p.wire.trace import TraceContext

ID = "0" * 31 + "7"
PEER = "w3um5ytjx5uysldqkwhtvjaddomcdhotswxbkbi5nyasbze7kqpq"
_TRACE = bytes(range(1, 26))
_ENVELOPES = [
    encode_envelope(Envelope(kind, 7, 3, "math.add", 1500, 1, _TRACE, b"\x92\x01\x02"))
    for kind in range(1, 8)
]
_MANY = b"\xdd" + len(_ENVELOPES).to_bytes(4, "big") + b"".join(_ENVELOPES)


def of_value(*readers: Callable[[Any], object]) -> Callable[[bytes], object]:
    """What reads the value in a payload."""

    def decode(data: bytes) -> None:
        value = decode_payload(data)
        for read in readers:
            read(value)

    return decode


def _streams(data: bytes) -> None:
    streams.read_open(data)
    for verb in (Verb.ACCEPT, Verb.CREDIT, Verb.RESUME, Verb.RESUMED):
        streams.read_say(verb, 4, data)
    streams.split_chunks(data)


def _pubsub(data: bytes) -> None:
    for decode in (
        pubsub.decode_run,
        pubsub.decode_ask,
        pubsub.decode_page,
        pubsub.decode_heads,
        pubsub.decode_alone,
    ):
        decode(data)


_LOOP = asyncio.new_event_loop()


def _local(data: bytes) -> None:
    """As `asyncio` would give the bytes to the local socket's readers."""

    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        while (value := await local.read_frame(reader)) is not None:
            if isinstance(value, dict):
                local.rebuild_error(value)

    _LOOP.run_until_complete(read())


def _channel(data: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        while await local.read_channel_frame(reader, 4096) is not None:
            pass

    _LOOP.run_until_complete(read())


def _calling(data: bytes) -> None:
    for read in (calling.read_message, calling.read_notice, calling.read_sent):
        with contextlib.suppress(BadRequest):
            read(data, "alpha")
    calling.read_verdict(data, "alpha", "math.add")


def _tasking(data: bytes) -> None:
    tasking.read_answer(data)
    tasking.read_leases(tasking.read_list(data))
    tasking.read_ids(tasking.read_list(data))


_LEASE = [ID, 17]
_REPORTS = [
    [4, ID, 17, PEER, b"text"],
    [5, ID, 17, PEER, ["ValueError", "no", "Traceback"], True],
    [8, ID, 17, PEER, "draining"],
]
_WISH = [ID, "Shall it?", b"subject", "release", [PEER], {PEER: 1}, [PEER], 2, 3, 60_000]
_SAID = [[1, bytes(32), 4, bytes(64), b"mark"], [2, bytes(32), 4, bytes(64), b"a" * 32]]
_FRAME = as_payload({"type": "NoQuorum", "message": "none", "fields": {"peer": "a", "n": [1]}})


def _wish(value: Any) -> None:
    if isinstance(value, list):
        Wish.from_wire(value)


HARNESSES = [
    Harness(
        "frame",
        decode_frame,
        [*_ENVELOPES, _MANY],
        (BadFrame,),
        ("p2p.wire.envelope:decode_frame",),
    ),
    Harness(
        "payload",
        decode_payload,
        [as_payload([1, "a", b"b", None, True, 1.5, {"k": [1, 2, {1: "x"}]}])],
        (PayloadError,),
        ("p2p.wire.payload:decode_payload",),
    ),
    Harness(
        "arguments",
        lambda data: (from_bytes(data), read_arguments(data, "alpha", "math.add")),
        [as_payload([[1, 2], {"x": "y"}])],
        (PayloadError, BadRequest),
        ("agents.hosting.values:from_bytes", "agents.hosting.host:read_arguments"),
    ),
    Harness(
        "fault",
        lambda data: decode_fault(data, "alpha", "math.add"),
        [
            as_payload([code, "detail\x1b[0m", "ValueError", "Traceback"])
            for code in ("handler_failed", "cancelled", "overloaded", "news")
        ],
        (),
        ("p2p.wire.faults:decode_fault",),
    ),
    Harness(
        "words about revocations",
        lambda data: [
            read(data)
            for read in (
                trusting.head_from_wire,
                trusting.want_from_wire,
                trusting.list_from_wire,
                lambda data: RevocationWish.from_wire(decode_payload(data)),
            )
        ],
        [
            trusting.head_message(bytes(16), bytes(16), asks=1, answers=2),
            as_payload([[bytes(32), 7, bytes(32)]]),
            as_payload(b"a list"),
            as_payload([2, bytes(32), 5, "why"]),
        ],
        (PayloadError,),
        (
            "p2p.trusting.messages:head_from_wire",
            "p2p.trusting.messages:want_from_wire",
            "p2p.trusting.messages:list_from_wire",
            "agents.revoking:Wish.from_wire",
        ),
    ),
    Harness(
        "word",
        decode_word,
        [Word(verb, 7).encode() for verb in (WordVerb.HERE, WordVerb.DRAIN, WordVerb.DRAINED)],
        (),
        ("p2p.transport.words:decode_word",),
    ),
    Harness(
        "trace", TraceContext.from_bytes, [_TRACE], (), ("p2p.wire.trace:TraceContext.from_bytes",)
    ),
    Harness(
        "papers of members",
        lambda data: (members.wanted_from_wire(data), members.papers_from_wire(data)),
        [as_payload([bytes(32), bytes(32)]), members.papers_message([(b"chain", b"record")])],
        (),
        (
            "p2p.members.messages:wanted_from_wire",
            "p2p.members.messages:papers_from_wire",
        ),
    ),
    Harness(
        "heartbeat",
        of_value(Heartbeat.from_wire),
        [as_payload([1, 2, 3, 4, 5, b"body"])],
        (PayloadError,),
        ("p2p.membership.heartbeat:Heartbeat.from_wire",),
    ),
    Harness(
        "swim",
        decode_message,
        [
            as_payload([1, kind, fields, _SAID])
            for kind, fields in enumerate(
                (
                    [3, 2**63, b"status"],
                    [7],
                    [7],
                    [7, bytes(32)],
                    [7],
                    [],
                    [list(range(64))],
                    [[1, 63], [[b"12345678", 2**64 - 1]]],
                    [[b"12345678"]],
                )
            )
        ],
        (),
        ("p2p.membership.swim.messages:decode_message",),
    ),
    Harness(
        "pubsub",
        _pubsub,
        [
            as_payload([b"one", None, b"two"]),
            as_payload(["news/eu", 1, 9, 0, "", False]),
            as_payload([[["news/eu", 5, 9, 0, 1, [b"one", None]]], ""]),
            as_payload([["news/eu", 5, 9, 2]]),
            as_payload(["news/eu", 5, 9, 2, b"secret"]),
        ],
        (),
        tuple(f"p2p.pubsub.messages:decode_{x}" for x in ("run", "ask", "page", "heads", "alone")),
    ),
    Harness(
        "streams",
        _streams,
        [
            streams.open_payload("files.get", b"\x90", 65_536),
            as_payload([100]),
            as_payload([100, 1, 5, False]),
            as_payload([100, 1, 5]),
            streams.join_chunks([b"one", b"two"]),
        ],
        (),
        ("p2p.streams.messages:read_open", "p2p.streams.messages:read_say"),
    ),
    Harness(
        "calls",
        _calling,
        [
            as_payload(["math.add", [1, 2], {"x": 1}]),
            as_payload([1, as_payload(["math.add", [], {}])]),
            as_payload([1, 2, 3, 4, as_payload(["math.add", [], {}])]),
            as_payload(["refused", "overloaded", "too many"]),
            as_payload(["accepted"]),
        ],
        (),
        tuple(
            f"agents.calling.messages:read_{x}" for x in ("message", "notice", "sent", "verdict")
        ),
    ),
    Harness(
        "tasks",
        _tasking,
        [as_payload(["ok", [_LEASE, _LEASE]]), as_payload([_LEASE]), as_payload([ID, ID])],
        (),
        tuple(f"agents.tasking.wire:read_{x}" for x in ("answer", "list", "leases", "ids")),
    ),
    Harness(
        "reports",
        of_value(reports.report_from_wire, reports.ReportAnswer.from_wire),
        [*map(as_payload, _REPORTS), as_payload([ID, 17, "stale_token"])],
        (PayloadError,),
        (
            "agents.scheduling.reports:report_from_wire",
            "agents.scheduling.reports:ReportAnswer.from_wire",
        ),
    ),
    Harness(
        "wish",
        of_value(_wish),
        [as_payload(_WISH)],
        (PayloadError,),
        ("agents.deciding.opening:Wish.from_wire",),
    ),
    Harness(
        "keeping",
        of_value(
            keeping.read_reply,
            keeping.read_found,
            keeping.read_entry,
            keeping.read_change,
            read_changes,
            deciding_wire.pair,
        ),
        [
            as_payload([9, None, [[None, 1, 2, 3], ["locked", 0, 0, 0]]]),
            as_payload([9, 5, 1000, [b"v", 1, 1, None]]),
            as_payload([b"v", 1, 1, 5]),
            as_payload([9, "put", "key", b"v"]),
            as_payload([9, [[9, "put", "key", b"v"]]]),
            as_payload([None, 4]),
        ],
        (PayloadError,),
        (
            *(f"agents.keeping.wire:read_{x}" for x in ("reply", "found", "entry", "change")),
            "agents.keeping.watching:read_changes",
        ),
    ),
    Harness(
        "agent-entry",
        lambda data: read_entry("reader", data),
        [
            as_payload([1, 4, [["ocr", "task", "reads", "", 2, True, "stream"]]]),
            as_payload([1, 4, [["ocr", "task", "reads"]], ["degraded", "hot", 9], "stands by", 3]),
        ],
        (),
        ("agents.adverts:read_entry",),
    ),
    Harness(
        "machine",
        decode_machine,
        [as_payload([1, 4, 8]), as_payload([1, 0, 0, "later"])],
        (),
        ("agents.busy:decode_machine",),
    ),
    Harness(
        "reach",
        decode_reach,
        [encode_reach(Reach(None, {})), encode_reach(Reach(True, {"10.0.0.7": Reached.SILENT}))],
        (PayloadError,),
        ("agents.network_check_service:decode_reach",),
    ),
    Harness(
        "local-frame",
        _local,
        [len(_FRAME).to_bytes(4, "big") + _FRAME, local.frame_of(["call", 1, {"x": b"y"}])],
        (local.BadLocalFrame,),
        ("agents.local.frames:read_frame",),
    ),
    Harness("local-error", of_value(local.rebuild_error), [_FRAME], (PayloadError,)),
    Harness(
        "local-channel",
        _channel,
        [b"\0\0\0\x03\x01abc\0\0\0\0\x02"],
        (local.BadLocalFrame,),
        ("agents.local.frames:read_channel_frame",),
    ),
]
