"""Harnesses for what comes to the door before anybody is known: knocks, discovery, settings."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fuzz_keys import NETWORK, REQUEST, P
from fuzz_lab import Harness

from agents.errors import BadSettings
from agents.settings import load_settings
from keys.join import encode_grant
from p2p.admission import messages as door
from p2p.admission.frames import FrameReader, frame_of
from p2p.admission.refusals import Objection, RefusalCode
from p2p.discovery import advert, seeds
from p2p.discovery.addresses import as_ip
from p2p.discovery.errors import BadSeed
from p2p.discovery.lastgood import LastGoodPeers

HINT = door.Hint(P.peer.peer_id, ("192.0.2.7", "fe80::1%eth0"), 4747)
_FRAMES = [
    door.encode(message)
    for message in (
        door.Hello(NETWORK, bytes(32)),
        door.JoinHello(NETWORK, bytes(32)),
        door.DoorHello(NETWORK, bytes(32), P.record.raw, P.chain.encode()),
        door.Introduction(P.record.raw, P.chain.encode(), bytes(64), bytes(door.POSSESSION_BYTES)),
        door.Welcome((HINT, HINT), bytes(64), bytes(door.POSSESSION_BYTES)),
        door.Refusing(RefusalCode.BUSY, "come back", (HINT,)),
        door.JoinRequest(REQUEST),
        door.JoinGrant(encode_grant(P.chain, P.genesis)),
        door.ListPart(1, 3, b"a part of a list"),
    )
]


def _frames(data: bytes) -> None:
    reader = FrameReader()
    for start in range(0, len(data), 7):
        reader.feed(data[start : start + 7])
        while (body := reader.next_body()) is not None:
            door.decode(body)


_KEPT = tempfile.TemporaryDirectory(prefix="fuzz-home-")
_HOME = Path(_KEPT.name)


def _settings(data: bytes) -> None:
    (_HOME / "conclave.toml").write_bytes(data)
    load_settings(_HOME, {})


def _lastgood(data: bytes) -> None:
    path = _HOME / "peers"
    path.write_bytes(data)
    LastGoodPeers(path).load()


def _advert(data: bytes) -> None:
    """Instance, port, TXT and hosts from one run of bytes, as mDNS would give them."""
    name, _, rest = data.partition(b"|")
    port, _, rest = rest.partition(b"|")
    text, _, hosts = rest.partition(b"|")
    pairs: dict[bytes, bytes | None] = {}
    for pair in text.split(b","):
        key, equals, value = pair.partition(b"=")
        pairs[key] = value if equals else None
    number = int.from_bytes(port[:4], "big") if port else None
    advert.read_advert(
        name.decode("utf-8", "replace"),
        number,
        pairs,
        [host.decode("utf-8", "replace") for host in hosts.split(b",")],
        own=P.issuer.peer_id,
        tag="0123abcd",
    )
    advert.peer_id_in(name.decode("utf-8", "replace"))


_ADVERT = (
    advert.instance_name(P.peer.peer_id).encode()
    + b"|\x12\x8b|v=1,n=0123abcd|192.0.2.1,fe80::1%eth0,::1"
)


_PEERS_FILE = (
    b'{"format": "conclave-peers 1", "peers": [{"peer_id": "%s", "hosts": ["192.0.2.1"],'
    b' "port": 4747, "met_ms": 1700000000000}]}' % P.peer.peer_id.encode()
)


_TOML = (
    b'host = "127.0.0.1"\nport = 4747\nmdns = false\nlog_level = "info"\n'
    b'seeds = ["192.0.2.1:4747", "[fe80::1]:4747"]\n'
)


HARNESSES = [
    Harness("door-message", door.decode, _FRAMES, (Objection,), ("p2p.admission.messages:decode",)),
    Harness("door-stream", _frames, [b"".join(map(frame_of, _FRAMES[:3]))], (Objection,)),
    Harness(
        "mdns-advert",
        _advert,
        [_ADVERT],
        (),
        ("p2p.discovery.advert:read_advert",),
    ),
    Harness(
        "seeds",
        lambda data: (
            seeds.parse_seeds(data.decode("utf-8", "replace")),
            as_ip(data.decode("utf-8", "replace")),
        ),
        [b"192.0.2.1:4747, [fe80::1%eth0]:4747 host.local # there\n::1"],
        (BadSeed,),
        ("p2p.discovery.seeds:parse_seed", "p2p.discovery.seeds:parse_seeds"),
        is_text=True,
    ),
    Harness("peers-file", _lastgood, [_PEERS_FILE], is_text=True),
    Harness("settings", _settings, [_TOML], (BadSettings,), is_text=True),
]
