"""A network's first member: what is made at once where all keys are at hand, and what is noted.

What this module does not know: where keys are kept (`keys.Keystore`), founding by several
custodians (`keys.ceremonies`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keys.certificate import Certificate
from keys.genesis import Genesis
from keys.identity import Identity
from keys.issuing.issued_book import Issued, IssuedBook
from keys.issuing.issuer import Issuer
from keys.issuing.making import check_key, issuer_name, make_issuer, make_peer, make_root
from keys.issuing.ticket_book import TicketBook
from keys.renewal import NONCE_BYTES
from keys.roles import Role
from keys.trust import Chain, Trust

FIRST_ROLES: Final = Role.ADMIN | Role.SERVICE


def issuer_at(home: Path, key: Identity, chain: Chain, genesis: Genesis, trust: Trust) -> Issuer:
    """The issuer whose books are in this directory; `chain` is its own."""
    tickets, issued = TicketBook(home / "tickets"), IssuedBook(home / "issued")
    return Issuer(key, chain, genesis, tickets, issued, trust=trust)


def found(
    root: Identity,
    issuer: Identity,
    own: Identity,
    names: tuple[str, str],
    expected_voters: int,
    now_ms: int,
) -> tuple[Chain, Genesis]:
    """What the first member shows, and what its network was made as.

    Args:
        names: the network's and the node's.

    Raises:
        InvalidName, InvalidValue.
    """
    network_name, node_name = names
    genesis = Genesis.make(root, issuer.public_key, network_name, expected_voters, now_ms)
    top = make_root(root, network_name, now_ms)
    middle = make_issuer(root, top, issuer.public_key, issuer_name(node_name), now_ms)
    return first_chain(issuer, (middle, top), own, node_name, now_ms), genesis


def first_chain(
    issuer: Identity,
    above: tuple[Certificate, Certificate],
    own: Identity,
    node_name: str,
    now_ms: int,
) -> Chain:
    """
    Args:
        above: the issuer's certificate and the root's.

    Raises:
        InvalidName; InvalidValue: the certificate is not this issuer's.
    """
    check_key(issuer, above[0])
    leaf = make_peer(issuer, above[0], own.public_key, node_name, FIRST_ROLES, now_ms)
    return Chain((leaf, *above))


def note_first(issuer: Issuer, leaf: Certificate, now_ms: int) -> None:
    """The issuer's book begins with the certificate of the node that made the network."""
    entry = Issued(
        public_key=leaf.public_key,
        serial=leaf.serial,
        name=leaf.name,
        roles=leaf.roles,
        namespaces=leaf.namespaces,
        issued_ms=now_ms,
        not_after_ms=leaf.not_after_ms,
        nonce=bytes(NONCE_BYTES),
        issuer_key_id=leaf.issuer_key_id,
    )
    issuer.issued.add(entry, now_ms)
