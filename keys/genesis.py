"""What the network was made as: its name, how many voters to wait for, who names the first ones.

Genesis is signed by the root itself, once, when the network is made; the root then goes
offline. So nobody who came later, not even another issuer, can make a second one. It names the key
of the first issuer, and only that key signs the first voter roster (`keys.roster`).

What this module does not know: who the voters are, files, time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.certificate import Signer
from keys.errors import GenesisRefused, InvalidValue
from keys.identity import (
    KEY_BYTES,
    NetworkId,
    fingerprint,
    network_id_of,
)
from keys.names import MAX_NAME_CHARS, check_name, name_problem
from keys.rootquorum import MAX_QUORUM_BYTES, MAX_SIGNATURE_BYTES, Authority, RootQuorum
from keys.trust import Trust

VERSION: Final = 1
VERSION_OF_QUORUM: Final = 2
DOMAIN: Final = "genesis"
MAX_GENESIS_BYTES: Final = 1024
VOTER_COUNTS: Final = (1, 3, 5, 7)


@dataclass(frozen=True, slots=True)
class Genesis:
    """Make one with `make`, read one with `decode`, believe it after `verify`."""

    network_id: NetworkId
    network_name: str
    expected_voters: int
    created_ms: int
    issuer_public_key: bytes  # whoever holds it signs the first roster
    root: Authority
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """Fingerprint of the body: names this very beginning of the network."""
        return fingerprint(self.body)

    @classmethod
    def make(
        cls,
        root: Signer,
        issuer_public_key: bytes,
        network_name: str,
        expected_voters: int,
        now_ms: int,
        *,
        authority: Authority | None = None,
    ) -> Genesis:
        """A quorum says with `authority` who it is.

        Raises:
            InvalidName, InvalidValue.
        """
        root_is = authority or Authority(root.public_key)
        body = genesis_body(root_is, issuer_public_key, network_name, expected_voters, now_ms)
        return cls.assemble(body, root.sign(DOMAIN, body))

    @classmethod
    def assemble(cls, body: bytes, signature: bytes) -> Genesis:
        """A body and the root's signature.

        Raises:
            GenesisRefused
        """
        return cls.decode(encode([body, signature]))

    def encode(self) -> bytes:
        return self.raw

    @classmethod
    def decode(cls, raw: bytes) -> Genesis:
        """
        Raises:
            GenesisRefused: these bytes are not one.
        """
        try:
            body, signature = pair(
                decode(raw, MAX_GENESIS_BYTES), MAX_GENESIS_BYTES, longest=MAX_SIGNATURE_BYTES
            )
            fields = Fields(decode(body, MAX_GENESIS_BYTES))
            root = _read_root(fields)
            genesis = cls(
                network_id=network_id_of(root.public_key),
                root=root,
                network_name=fields.text(3, MAX_NAME_CHARS),
                expected_voters=fields.integer(4),
                created_ms=fields.integer(5),
                issuer_public_key=fields.binary(6, KEY_BYTES),
                body=body,
                signature=signature,
                raw=raw,
            )
            fields.finish()
        except NotCanonical as error:
            raise GenesisRefused(str(error)) from error
        if genesis.expected_voters not in VOTER_COUNTS:
            raise GenesisRefused(f"{genesis.expected_voters} voters; there are 1, 3, 5 or 7")
        problem = name_problem(genesis.network_name)
        if problem:
            raise GenesisRefused(f"the name {genesis.network_name!r}: {problem}")
        return genesis

    def verify(self, trust: Trust) -> None:
        """
        Raises:
            GenesisRefused: of another network, or not signed by its root.
        """
        if self.network_id != trust.network_id:
            raise GenesisRefused(f"it is of network {self.network_id}, not {trust.network_id}")
        if not self.root.has_signed(DOMAIN, self.body, self.signature):
            raise GenesisRefused("it is not signed by the root of the network")


def genesis_body(
    root: Authority,
    issuer_public_key: bytes,
    network_name: str,
    expected_voters: int,
    now_ms: int,
) -> bytes:
    """What the root has to sign.

    Raises:
        InvalidName, InvalidValue.
    """
    check_name("network name", network_name)
    if expected_voters not in VOTER_COUNTS:
        raise InvalidValue("expected_voters", f"is {expected_voters}, must be 1, 3, 5 or 7")
    fields: dict[int, object] = {
        1: VERSION,
        2: root.public_key,
        3: network_name,
        4: expected_voters,
        5: now_ms,
        6: issuer_public_key,
    }
    if root.quorum is not None:
        fields |= {1: VERSION_OF_QUORUM, 7: root.quorum.encode()}
    return encode(fields)


def _read_root(fields: Fields) -> Authority:
    version = fields.integer(1, VERSION, VERSION_OF_QUORUM)
    public_key = fields.binary(2, KEY_BYTES)
    if version == VERSION:
        return Authority(public_key)
    quorum = RootQuorum.decode(fields.blob(7, MAX_QUORUM_BYTES))
    if quorum.commitment != public_key:
        raise NotCanonical("its root is not the fingerprint of its quorum")
    return Authority(public_key, quorum)
