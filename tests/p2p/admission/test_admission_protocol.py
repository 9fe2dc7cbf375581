"""The bytes of PROTOCOL.md are the bytes that are sent."""

from __future__ import annotations

import re
from pathlib import Path

import p2p.admission
from keys import Identity, PeerId, TransportKey
from p2p.admission import Hint, RefusalCode
from p2p.admission.checks import DIALER_DOMAIN, DOOR_DOMAIN, Transcript
from p2p.admission.frames import frame_of
from p2p.admission.messages import (
    KINDS,
    DoorHello,
    Hello,
    Introduction,
    JoinHello,
    Refusing,
    Welcome,
    encode,
    hint_fields,
    pack,
)
from p2p.admission.refusals import LOCAL_CODES

assert p2p.admission.__file__ is not None
TEXT = (Path(p2p.admission.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")
VECTORS = dict(re.findall(r"^([a-z ]+): ([0-9a-f]+)$", TEXT, re.MULTILINE))

NETWORK_ID = "a" * 52
CALLER_NONCE, DOOR_NONCE = bytes(range(32)), bytes(range(32, 64))
DOOR_HELLO = encode(DoorHello(NETWORK_ID, DOOR_NONCE, b"door record", b"door chain"))
HINTS = (Hint(PeerId("b" * 52), ("192.0.2.7",), 4747),)


def test_an_introduction_has_the_documented_bytes() -> None:
    transcript, found = Transcript(), {}
    hello = encode(Hello(NETWORK_ID, CALLER_NONCE))
    transcript.add(hello, from_door=False)
    transcript.add(DOOR_HELLO, from_door=True)
    found["hello frame"] = frame_of(hello)
    found["door hello frame"] = frame_of(DOOR_HELLO)
    found["transcript"] = transcript.digest()

    record, chain = b"dialer record", b"dialer chain"
    found["dialer digest"] = digest = transcript.digest_with(record, chain)
    proof = Identity.from_secret(b"\x0b" * 32).sign(DIALER_DOMAIN, digest)
    dialer_key, door_key = (TransportKey.from_secret(bytes([each]) * 32) for each in (0x0D, 0x0C))
    tag = dialer_key.tag(door_key.public, DIALER_DOMAIN, digest)
    assert tag is not None
    assert door_key.verify_tag(dialer_key.public, DIALER_DOMAIN, digest, tag)
    introduction = encode(Introduction(record, chain, proof, tag))
    found["introduction frame"] = frame_of(introduction)

    transcript.add(introduction, from_door=False)
    found["door digest"] = digest = transcript.digest_with(pack(hint_fields(HINTS)))
    proof = Identity.from_secret(b"\x0a" * 32).sign(DOOR_DOMAIN, digest)
    tag = door_key.tag(dialer_key.public, DOOR_DOMAIN, digest)
    assert tag is not None
    found["welcome frame"] = frame_of(encode(Welcome(HINTS, proof, tag)))
    assert {name: VECTORS[name] for name in found} == {k: v.hex() for k, v in found.items()}


def test_joining_and_refusing_have_the_documented_bytes() -> None:
    transcript = Transcript()
    hello = encode(JoinHello(NETWORK_ID, CALLER_NONCE))
    transcript.add(hello, from_door=False)
    transcript.add(DOOR_HELLO, from_door=True)
    assert frame_of(hello).hex() == VECTORS["join hello frame"]
    assert transcript.digest().hex() == VECTORS["join transcript"]
    refused = frame_of(encode(Refusing(RefusalCode.BUSY, "try again")))
    assert refused.hex() == VECTORS["refused frame"]


def test_every_message_and_every_check_is_documented() -> None:
    for kind in KINDS.values():
        assert re.search(rf"^\| [a-z ]+ \| `\[{int(kind)}, ", TEXT, re.MULTILINE), kind.name
    checks = TEXT.split("## Checks")[1].split("## Bounds")[0]
    for code in list(RefusalCode)[4:14]:
        assert f"`{code.value}`" in checks, code
    assert not any(f"`{code.value}`" in TEXT for code in LOCAL_CODES)


def test_parts_of_a_message_cannot_be_shifted_into_each_other() -> None:
    transcript = Transcript()
    assert transcript.digest_with(b"ab", b"c") != transcript.digest_with(b"a", b"bc")
    said, heard = Transcript(), Transcript()
    said.add(b"x", from_door=True)
    heard.add(b"x", from_door=False)
    assert said.digest() != heard.digest()
