"""Networks whose root has several keys, or successors, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from keys_lab import BOTH, DAY_MS, NOW_MS, fields_of, key, serial

from keys import Authority, Certificate, Chain, Genesis, Identity, RootQuorum, Trust
from keys.certificate import DOMAIN, assemble_certificate, both_signed, certificate_body
from keys.issuing import make_issuer, make_peer, make_root
from keys.issuing.making import make_successor
from keys.rootquorum import Custodians

OLD_UNTIL_MS = NOW_MS + 30 * DAY_MS


@dataclass(frozen=True)
class Root:
    """Keys that are one root: `of` a single one, or several of which `threshold` sign."""

    keys: tuple[Identity, ...]
    threshold: int = 1
    authority: Authority = field(init=False)

    def __post_init__(self) -> None:
        publics = [each.public_key for each in self.keys]
        said = Authority(publics[0])
        if len(publics) > 1:
            said = Authority.of(RootQuorum.make(self.threshold, publics, nonce=b"n" * 16))
        object.__setattr__(self, "authority", said)

    @property
    def public_key(self) -> bytes:
        return self.authority.public_key

    def sign(self, domain: str, body: bytes) -> bytes:
        """By as many keys as must, and the last ones of them."""
        some = self.keys[-self.threshold :] if len(self.keys) > 1 else self.keys
        return Custodians(self.authority, some).sign(domain, body)


def single(seed: int) -> Root:
    return Root((key(seed),))


def quorum(threshold: int, *seeds: int) -> Root:
    return Root(tuple(key(seed) for seed in seeds), threshold)


@dataclass(frozen=True)
class Line:
    """A network of these roots, each the successor of the one before; an issuer and a peer."""

    roots: tuple[Root, ...]
    line: tuple[Certificate, ...]  # newest first
    issuer: Identity
    peer: Identity
    middle: Certificate
    leaf: Certificate

    @property
    def chain(self) -> Chain:
        return Chain((self.leaf, self.middle, *self.line))

    @property
    def trust(self) -> Trust:
        return Trust(self.line[-1].network_id)

    def genesis(self) -> Genesis:
        first = self.roots[0]
        return Genesis.make(
            first, self.issuer.public_key, "lan", 3, NOW_MS, authority=first.authority
        )


def line_of(roots: Sequence[Root], *, until_ms: int = OLD_UNTIL_MS) -> Line:
    made = [make_root(roots[0], "lan", NOW_MS, authority=roots[0].authority, serial=serial(1))]
    for number, (old, new) in enumerate(pairwise(roots), 2):
        made.append(
            make_successor(
                old, made[-1], new, new.authority, until_ms, NOW_MS, serial=serial(number)
            )
        )
    issuer, peer = key(2), key(3)
    middle = make_issuer(
        roots[-1], made[-1], issuer.public_key, "alpha-issuer", NOW_MS, serial=serial(2)
    )
    leaf = make_peer(issuer, middle, peer.public_key, "alpha", BOTH, NOW_MS, serial=serial(3))
    return Line(tuple(roots), tuple(reversed(made)), issuer, peer, middle, leaf)


def reforge(old: Root, new: Root, original: Certificate, **changes: object) -> Certificate:
    """A successor with fields `f<number>` changed, signed by both whatever it says."""
    numbers = {int(name[1:]): value for name, value in changes.items()}
    body = certificate_body({**fields_of(original.body), **numbers})
    return assemble_certificate(body, both_signed(old.sign(DOMAIN, body), new.sign(DOMAIN, body)))
