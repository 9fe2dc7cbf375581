"""The first voters, by name: signed once, by the issuer that made the network.

A lone node never decides by itself that it is a majority: it waits until this names the voters.
After that the set changes only by decisions of the voters themselves.

What this module does not know: that a second roster must never be signed or stored
(`keys.keystore` keeps the first and refuses others), how voters are chosen, files, time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.errors import InvalidValue, NotTheIssuer, RosterRefused
from keys.genesis import VOTER_COUNTS, Genesis
from keys.identity import (
    FINGERPRINT_BYTES,
    Identity,
    NetworkId,
    PeerId,
    decode_id,
    encode_id,
    fingerprint,
    verify_signature,
)

VERSION: Final = 1
DOMAIN: Final = "roster"
MAX_ROSTER_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Roster:
    """Make one with `make`, read one with `decode`, believe it after `verify`."""

    network_id: NetworkId
    genesis_digest: bytes
    voters: tuple[PeerId, ...]  # sorted, each once
    created_ms: int
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        return fingerprint(self.body)

    @classmethod
    def make(
        cls, issuer: Identity, genesis: Genesis, voters: Iterable[PeerId], now_ms: int
    ) -> Roster:
        """
        Raises:
            NotTheIssuer, InvalidValue.
        """
        if issuer.public_key != genesis.issuer_public_key:
            raise NotTheIssuer("signing the first voter roster")
        names = tuple(sorted(voters))
        wanted = genesis.expected_voters
        if len(names) != wanted or len(set(names)) != wanted:
            raise InvalidValue("voters", f"{len(set(names))} given, the network expects {wanted}")
        body = encode(
            {
                1: VERSION,
                2: decode_id(genesis.network_id),
                3: genesis.digest,
                4: [decode_id(name) for name in names],
                5: now_ms,
            }
        )
        roster = cls.decode(encode([body, issuer.sign(DOMAIN, body)]))
        roster.verify(genesis)
        return roster

    def encode(self) -> bytes:
        return self.raw

    @classmethod
    def decode(cls, raw: bytes) -> Roster:
        """
        Raises:
            RosterRefused: these bytes are not one.
        """
        try:
            body, signature = pair(decode(raw, MAX_ROSTER_BYTES), MAX_ROSTER_BYTES)
            fields = Fields(decode(body, MAX_ROSTER_BYTES))
            fields.integer(1, VERSION, VERSION)
            roster = cls(
                network_id=NetworkId(encode_id(fields.binary(2, FINGERPRINT_BYTES))),
                genesis_digest=fields.binary(3, FINGERPRINT_BYTES),
                voters=tuple(
                    PeerId(encode_id(each))
                    for each in fields.binaries(4, max(VOTER_COUNTS), FINGERPRINT_BYTES)
                ),
                created_ms=fields.integer(5),
                body=body,
                signature=signature,
                raw=raw,
            )
            fields.finish()
        except NotCanonical as error:
            raise RosterRefused(str(error)) from error
        if list(roster.voters) != sorted(set(roster.voters)):
            raise RosterRefused("its voters are not sorted, or one is there twice")
        return roster

    def verify(self, genesis: Genesis) -> None:
        """
        Raises:
            RosterRefused: of another network or genesis, of another size, or not by its issuer.
        """
        if self.network_id != genesis.network_id or self.genesis_digest != genesis.digest:
            raise RosterRefused("it is of another network")
        if len(self.voters) != genesis.expected_voters:
            raise RosterRefused(
                f"it names {len(self.voters)} voters, the network was made for "
                f"{genesis.expected_voters}"
            )
        if not verify_signature(genesis.issuer_public_key, DOMAIN, self.body, self.signature):
            raise RosterRefused("it is not signed by the issuer that made the network")
