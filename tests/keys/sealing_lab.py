"""Three members that seal for each other, with fixed keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from keys_lab import BOTH, NOW_MS, key, lab, serial

from keys import Chain, Identity, PeerId, Principal, verify
from keys.canonical import decode, encode
from keys.issuing import make_peer
from keys.sealing import (
    SealedMessage,
    SealingSecret,
    SealingStatement,
    Stamp,
    Suite,
    open_message,
    seal_message,
)

LAB = lab()
EPOCH = b"epoch-01"


@dataclass
class Member:
    """One peer with one sealing key, whose number is its seed."""

    seed: int
    suite: Suite = Suite.X25519
    identity: Identity = field(init=False)
    secret: SealingSecret = field(init=False)

    def __post_init__(self) -> None:
        self.identity = key(self.seed)
        self.secret = SealingSecret(self.suite, bytes([self.seed + 100]) * 32)
        leaf = make_peer(
            LAB.issuer,
            LAB.middle,
            self.identity.public_key,
            f"peer-{self.seed}",
            BOTH,
            NOW_MS,
            serial=serial(self.seed),
        )
        self.chain = Chain((leaf, LAB.middle, LAB.top))

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def principal(self) -> Principal:
        return verify(self.chain, LAB.trust, NOW_MS)

    @property
    def statement(self) -> SealingStatement:
        public = self.secret.public
        return SealingStatement.make(self.identity, self.suite, public, self.seed, NOW_MS)

    def seal(
        self, *readers: Member, purpose: str = "test", payload: bytes = b"hello", sequence: int = 1
    ) -> bytes:
        stamp = Stamp(EPOCH, sequence, NOW_MS)
        statements = [reader.statement for reader in readers]
        return seal_message(self.identity, statements, purpose, payload, stamp)

    def open(self, data: bytes, purpose: str = "test") -> SealedMessage:
        return open_message(
            data,
            self.peer_id,
            purpose,
            lambda number: self.secret if number == self.seed else None,
            lambda peer_id, _: MEMBERS.get(peer_id),
        )


ADA, BOB, EVE = Member(11), Member(12), Member(13)
MEMBERS = {member.peer_id: member.principal for member in (ADA, BOB, EVE)}


def parts(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    value = decode(data, 1 << 21)
    assert isinstance(value, list)
    header, lids, box = value
    return header, lids, box


def joined(header: bytes, lids: list[bytes], box: bytes) -> bytes:
    return encode([header, lids, box])
