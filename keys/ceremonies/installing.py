"""A node that becomes an issuer: the key it asks with, and the certificate that comes back.

The key is stored before anybody is asked (`issuer.pending`). What is installed is verified first;
then `issuer.chain` becomes durable, then the key gets its name `issuer.key`. So a crash between
leaves a node that is no issuer yet, and the same file installs again. An issuer that has its key
already, and comes with a certificate under a newer root, replaces `issuer.chain` alone.

What this module does not know: how a request is signed (`keys.ceremonies`), the clock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keys.errors import IssuerKeyMissing, Refused
from keys.files import make_private_directory, rename_file, write_atomic
from keys.home import stored_key
from keys.identity import Identity
from keys.keystore import Keystore
from keys.renewal import accept_renewal, make_renewal_request
from keys.trust import Chain, verify_issuer

PENDING: Final = "issuer.pending"
KEY: Final = "issuer.key"
CHAIN: Final = "issuer.chain"


def asking_key(home: Path, passphrase: str | None) -> Identity:
    """The key to be certified: this node's issuer key, or one that is made for it and kept.

    Raises:
        KeystoreError
    """
    name = KEY if (home / KEY).exists() else PENDING
    return stored_key(home / name, "issuer", passphrase)


def install_issuer(
    keystore: Keystore, chain: Chain, now_ms: int, passphrase: str | None
) -> Keystore:
    """Make this node the issuer that `chain` (an issuer's certificate, then roots) says it is.

    Where the chain has newer roots than this node's own, the node also issues itself a new
    certificate with the same roles and namespaces, if it may give them.

    Raises:
        CertificateRefused: the chain does not hold here and now.
        IssuerKeyMissing: it is for another key than the one that this node asked with.
        KeystoreError.
    """
    home = keystore.home
    issuer = verify_issuer(chain, keystore.trust, now_ms)
    key = asking_key(home, passphrase)
    if issuer.public_key != key.public_key:
        raise IssuerKeyMissing(home / (KEY if (home / KEY).exists() else PENDING))
    write_atomic(home / CHAIN, chain.encode())
    if not (home / KEY).exists():
        make_private_directory(home / "tickets")
        rename_file(home / PENDING, home / KEY)
    seen = keystore.trust.seen
    assert seen is not None
    seen.learn(chain.roots)
    made = Keystore.open(home, passphrase)
    _renew_own(made, now_ms)
    return made


def _renew_own(keystore: Keystore, now_ms: int) -> None:
    """Move our own certificate under the newer root, where we may issue it to ourselves."""
    issuer = keystore.issuer
    assert issuer is not None, "it has just been installed"
    if issuer.chain.rotations <= keystore.chain.rotations:
        return
    request = make_renewal_request(keystore.identity, keystore.chain, now_ms)
    try:
        answer = issuer.renew(request, now_ms)
        renewed = accept_renewal(answer, keystore.chain, keystore.trust, now_ms)
    except Refused:
        return  # the old one is good until its root's time is over; another issuer can renew it
    keystore.replace_chain(renewed)
