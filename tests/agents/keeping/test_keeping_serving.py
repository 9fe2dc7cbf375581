"""What of another peer's commands gets into the log."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]
import pytest

from agents.keeping.serving import _refusal_of
from consensus.kv import (
    Expiry,
    Refusal,
    What,
    encode_acquire,
    encode_batch,
    encode_complete,
    encode_delete,
    encode_expire,
    encode_put,
    encode_register,
    put,
)
from consensus.kv.model import ClientId
from keys import PeerId

CALLER = PeerId("caller")


@pytest.mark.parametrize(
    "command",
    [
        encode_put("k", b"v"),
        encode_register(ClientId("0" * 32), 1000),
        encode_acquire("conclave/x", "caller/7", 1000),
        encode_acquire("lock", "caller", 1000),
    ],
)
def test_what_anybody_may_ask_passes(command: bytes) -> None:
    assert _refusal_of(command, CALLER) is None


@pytest.mark.parametrize(
    "command",
    [
        None,
        b"",
        b"garbage",
        encode_expire([Expiry(What.KEY, "k", 1)]),
        msgpack.packb((2, 16, None, "k", b"v", None)),  # of a newer program
        msgpack.packb((1, 99, None)),
    ],
)
def test_what_would_stop_members_or_is_the_leaders_is_malformed(command: object) -> None:
    reply = _refusal_of(command, CALLER)
    assert reply is not None
    assert reply.refusal is Refusal.MALFORMED


@pytest.mark.parametrize(
    "command",
    [
        encode_put("conclave/autopilot", b""),
        encode_delete("conclave/autopilot"),
        encode_complete("conclave/autopilot", 1, b""),
        encode_acquire("lock", "somebody", 1000),
        encode_acquire("lock", "caller2", 1000),
        encode_batch([put("k", b"v"), put("conclave/x", b"")]),
    ],
)
def test_the_networks_keys_and_other_holders_are_refused(command: bytes) -> None:
    reply = _refusal_of(command, CALLER)
    assert reply is not None
    assert reply.refusal is None
    assert all(result.refusal for result in reply.results)
