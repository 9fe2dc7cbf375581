"""Networks with fixed keys, and two handshakes run against each other without sockets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from keys import (
    Certificate,
    Chain,
    Genesis,
    Identity,
    PeerId,
    Role,
    TransportKey,
    TransportRecord,
    Trust,
)
from keys.issuing import make_issuer, make_peer, make_root
from p2p.admission import (
    Admit,
    Close,
    Credentials,
    DialerHandshake,
    DoorHandshake,
    Effect,
    Handshake,
    Hint,
    Refusal,
    RefusalCode,
    Send,
    Session,
    SessionTable,
)
from p2p.admission.frames import FrameReader, frame_of
from p2p.admission.messages import Message, decode, encode

NOW_MS = 1_700_000_000_000
PORTS = {"door": 4747, "control": 4748, "data": 4749, "topics": 4750}
DOOR_HOST = "192.0.2.1"
DIALER_HOST = "192.0.2.2"


def seeded(seed: int) -> Identity:
    return Identity.from_secret(bytes([seed]) * 32)


@dataclass(frozen=True)
class Network:
    """A root, an issuer, and as many members as are asked for."""

    root: Identity
    issuer: Identity
    top: Certificate
    middle: Certificate

    @property
    def trust(self) -> Trust:
        return Trust(self.top.network_id)

    def chain_of(self, identity: Identity, name: str, now_ms: int = NOW_MS) -> Chain:
        leaf = make_peer(self.issuer, self.middle, identity.public_key, name, Role.SERVICE, now_ms)
        return Chain((leaf, self.middle, self.top))

    def genesis(self) -> Genesis:
        return Genesis.make(self.root, self.issuer.public_key, "lan", 3, NOW_MS)

    def member(
        self,
        seed: int,
        *,
        sequence: int = 1,
        curve_seed: int | None = None,
        host: str = DIALER_HOST,
        now_ms: int = NOW_MS,
        chain: Chain | None = None,
    ) -> Credentials:
        identity = seeded(seed)
        chain = chain if chain is not None else self.chain_of(identity, f"node-{seed}", now_ms)
        record = TransportRecord.make(
            identity,
            chain,
            sequence=sequence,
            curve_public=curve(curve_seed if curve_seed is not None else seed),
            hosts=[host],
            ports=PORTS,
            now_ms=now_ms,
        )
        keys = (curve_key(curve_seed if curve_seed is not None else seed),)
        return Credentials(
            identity,
            chain,
            self.trust,
            f"node-{seed}",
            lambda: record,
            lambda: keys,
            lambda: now_ms,
        )


def network(first_seed: int = 1) -> Network:
    root, issuer = seeded(first_seed), seeded(first_seed + 1)
    top = make_root(root, "lan", NOW_MS - 86_400_000)
    middle = make_issuer(root, top, issuer.public_key, "issuer", NOW_MS - 86_400_000)
    return Network(root, issuer, top, middle)


def curve_key(seed: int) -> TransportKey:
    return TransportKey.from_secret(bytes([seed]) * 32)


def curve(seed: int) -> bytes:
    return curve_key(seed).public


def nonce(seed: int) -> bytes:
    return random.Random(seed).randbytes(32)


@dataclass
class Heard:
    """What came out of a side: everything, in order, and what it wrote."""

    effects: list[Effect] = field(default_factory=list)

    @property
    def sessions(self) -> list[Session]:
        return [each.session for each in self.effects if isinstance(each, Admit)]

    @property
    def refusal(self) -> Refusal | None:
        closes = [each for each in self.effects if isinstance(each, Close)]
        assert len(closes) == 1, "one end, exactly"
        return closes[0].refusal

    @property
    def code(self) -> RefusalCode | None:
        refusal = self.refusal
        return None if refusal is None else refusal.code

    @property
    def refusal_text(self) -> str:
        assert self.refusal is not None
        return self.refusal.text

    @property
    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.effects]


def dialer(
    credentials: Credentials,
    sessions: SessionTable | None = None,
    *,
    expected: PeerId | None = None,
) -> DialerHandshake:
    return DialerHandshake(
        credentials,
        sessions if sessions is not None else SessionTable(),
        nonce(1),
        dialled_host=DOOR_HOST,
        expected=expected,
    )


def door(
    credentials: Credentials,
    sessions: SessionTable | None = None,
    *,
    hints: Sequence[Hint] = (),
    issues: bool = False,
    fresh: bytes | None = None,
) -> DoorHandshake:
    return DoorHandshake(
        credentials,
        sessions if sessions is not None else SessionTable(),
        fresh if fresh is not None else nonce(2),
        hints=lambda peer_id: hints,
        issues=issues,
        observed_host=DIALER_HOST,
    )


def converse(
    caller: Handshake,
    callee: DoorHandshake,
    start: Sequence[Effect],
    *,
    now_ms: int = NOW_MS,
    chunk_bytes: int = 8192,
) -> tuple[Heard, Heard]:
    """Carry bytes between two sides until nobody writes: what both made of it."""
    called, heard = Heard(), Heard()
    called.effects += start
    to_door, to_caller = written(start), b""
    while to_door or to_caller:
        chunk, to_door = to_door[:chunk_bytes], to_door[chunk_bytes:]
        made = callee.receive(chunk, now_ms) if chunk else []
        heard.effects += made
        to_caller += written(made)
        chunk, to_caller = to_caller[:chunk_bytes], to_caller[chunk_bytes:]
        made = caller.receive(chunk, now_ms) if chunk else []
        called.effects += made
        to_door += written(made)
    if callee.is_over:
        called.effects += caller.closed()  # a door that has said everything closes
    return called, heard


def meet(
    caller: DialerHandshake, callee: DoorHandshake, *, now_ms: int = NOW_MS, chunk_bytes: int = 8192
) -> tuple[Heard, Heard]:
    return converse(caller, callee, caller.start(), now_ms=now_ms, chunk_bytes=chunk_bytes)


def written(effects: Sequence[Effect]) -> bytes:
    return b"".join(each.data for each in effects if isinstance(each, Send))


def said(effects: Sequence[Effect]) -> list[Message]:
    reader = FrameReader()
    reader.feed(written(effects))
    messages = []
    while (body := reader.next_body()) is not None:
        messages.append(decode(body))
    return messages


def framed(message: Message) -> bytes:
    return frame_of(encode(message))
