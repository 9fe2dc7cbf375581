"""What may be in a home, and its parts as they are read: each whole and fitting, or an error.

What this module does not know: what is written when (`keys.keystore`), the clock.
"""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path
from typing import Final

from keys.certificate import Certificate
from keys.errors import (
    CertificateRefused,
    ForeignDirectory,
    GenesisRefused,
    HomeDamaged,
    HomeExists,
    HomeIncomplete,
    NewerHome,
    NoNetworkYet,
)
from keys.files import (
    TEMPORARY_SUFFIX,
    names_in,
    read_file,
    read_private,
    write_atomic,
)
from keys.genesis import MAX_GENESIS_BYTES, Genesis
from keys.identity import Identity
from keys.rotation import MAX_LINE_BYTES, decode_line
from keys.sealed import MAX_FILE_BYTES, seal, unseal
from keys.trust import MAX_CHAIN_BYTES, Chain, Trust, verify, verify_line

FORMAT_VERSION: Final = 1

_OURS: Final = frozenset(
    {"FORMAT", "identity.key", "issuer.key", "root.key", "chain", "genesis", "roster", "tickets"}
    | {"incarnation", "issuer.chain", "issuer.pending", "roots", "issued"}
)
PENDING: Final = "identity.key"  # alone: a join was begun
RESUMABLE: Final = frozenset({PENDING, "chain", "genesis", "tickets", "incarnation", "issued"})
FOUNDING: Final = RESUMABLE | {"issuer.pending", "issuer.key"}
# May be there before there is a network: a mount point, a node being configured or locked.
_HARMLESS: Final = frozenset({"lock", "lost+found", "conclave.toml", "node.json", "node.sock"})
_FORMAT = re.compile(rb"conclave-home ([0-9]{1,6})\n?")


def check_free(home: Path, allowed: Set[str]) -> None:
    """Whether a network may be put here, over what an interrupted attempt left (`allowed`)."""
    names = names_in(home)
    if "FORMAT" in names:
        raise HomeExists(home)
    check_ours(home, names, allowed)


def check_format(home: Path) -> None:
    data = read_file(home / "FORMAT", 64)
    if data is None:
        check_ours(home, names_in(home), {PENDING})
        raise NoNetworkYet(home)
    match = _FORMAT.fullmatch(data)
    if not match:
        raise ForeignDirectory(home, "FORMAT")
    version = int(match[1])
    if version > FORMAT_VERSION:
        raise NewerHome(home, version, FORMAT_VERSION)
    if version < FORMAT_VERSION:
        raise HomeDamaged(home / "FORMAT", f"there never was a format {version}")


def check_ours(home: Path, names: Set[str], allowed: Set[str]) -> None:
    """Refuse to go on in a directory that has no FORMAT and holds more than is allowed."""
    left = {name for name in names - _HARMLESS if not name.endswith(TEMPORARY_SUFFIX)}
    foreign = sorted(left - _OURS)
    if foreign:
        raise ForeignDirectory(home, foreign[0])
    if left - allowed:
        raise HomeIncomplete(home)


def check_fit(home: Path, identity: Identity, chain: Chain, genesis: Genesis) -> None:
    """Whether the parts belong together, whatever the time is now."""
    trust = Trust(genesis.network_id)
    try:
        genesis.verify(trust)
    except GenesisRefused as error:
        raise HomeDamaged(home / "genesis", str(error)) from error
    try:
        verify(chain, trust, chain.leaf.not_before_ms)
    except CertificateRefused as error:
        raise HomeDamaged(home / "chain", str(error)) from error
    if chain.leaf.public_key != identity.public_key:
        raise HomeDamaged(home / "identity.key", "it is not the key in this node's certificate")


def read_chain(home: Path) -> Chain:
    path = home / "chain"
    data = read_file(path, MAX_CHAIN_BYTES)
    if data is None:
        raise HomeDamaged(path, "it is missing")
    try:
        return Chain.decode(data)
    except CertificateRefused as error:
        raise HomeDamaged(path, str(error)) from error


def read_issuer_chain(home: Path) -> Chain | None:
    path = home / "issuer.chain"
    data = read_file(path, MAX_CHAIN_BYTES)
    try:
        return Chain.decode(data) if data is not None else None
    except CertificateRefused as error:
        raise HomeDamaged(path, str(error)) from error


def read_roots(home: Path, trust: Trust) -> tuple[Certificate, ...]:
    path = home / "roots"
    data = read_file(path, MAX_LINE_BYTES)
    if data is None:
        return ()
    try:
        roots = decode_line(data)
        verify_line(roots, trust)
    except CertificateRefused as error:
        raise HomeDamaged(path, str(error)) from error
    return roots


def read_genesis(home: Path) -> Genesis:
    path = home / "genesis"
    data = read_file(path, MAX_GENESIS_BYTES)
    if data is None:
        raise HomeDamaged(path, "it is missing")
    try:
        return Genesis.decode(data)
    except GenesisRefused as error:
        raise HomeDamaged(path, str(error)) from error


def stored_key(path: Path, purpose: str, passphrase: str | None) -> Identity:
    """The key in a file, made and kept durably if there is none yet.

    Raises:
        KeystoreError
    """
    data = read_private(path, MAX_FILE_BYTES)
    if data is not None:
        return Identity.from_secret(unseal(path, purpose, data, passphrase))
    key = Identity.generate()
    write_atomic(path, seal(purpose, key.export_secret(), passphrase))
    return key


def read_key(home: Path, purpose: str, passphrase: str | None) -> Identity | None:
    path = home / f"{purpose}.key"
    data = read_private(path, MAX_FILE_BYTES)
    return None if data is None else Identity.from_secret(unseal(path, purpose, data, passphrase))
