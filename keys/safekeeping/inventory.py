"""Which keys lie in a home, without opening any: no passphrase is needed to look.

What this module does not know: secrets, the running node's transport key, printing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keys.certificate import Certificate
from keys.files import check_private_directory, read_private
from keys.home import check_format, read_chain, read_issuer_chain
from keys.rekeying import KEY_FILES, finish
from keys.sealed import MAX_FILE_BYTES, is_sealed


@dataclass(frozen=True, slots=True)
class KeyNote:
    """A key file, and the certificate that says whose key it is, if the home has one.

    Attributes:
        key_id: the fingerprint of the public key as text; empty where no certificate says it.
        not_after_ms: when the certificate ends; 0 without one.
    """

    file: str
    purpose: str
    is_sealed: bool
    key_id: str
    name: str
    not_after_ms: int


def key_notes(home: Path) -> tuple[KeyNote, ...]:
    """The key files of a home.

    Raises:
        NoNetworkYet, KeystoreError: InsecurePermissions says the `chmod` that is missing.
    """
    check_format(home)
    check_private_directory(home)
    finish(home)
    return tuple(_notes(home, _certificates(home)))


def _certificates(home: Path) -> dict[str, Certificate]:
    chain, issuing = read_chain(home), read_issuer_chain(home)
    papers = {"identity.key": chain.leaf, "root.key": chain.root}
    if issuing is not None:
        papers["issuer.key"] = issuing.leaf
    elif len(chain.current) > 2:
        papers["issuer.key"] = chain.certificates[1]
    return papers


def _notes(home: Path, papers: dict[str, Certificate]) -> Iterator[KeyNote]:
    for file, purpose in KEY_FILES.items():
        data = read_private(home / file, MAX_FILE_BYTES)
        if data is None:
            continue
        paper = papers.get(file)
        yield KeyNote(
            file,
            purpose,
            is_sealed(home / file, data),
            paper.peer_id if paper is not None else "",
            paper.name if paper is not None else "",
            paper.not_after_ms if paper is not None else 0,
        )
