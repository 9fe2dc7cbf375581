"""Objects that hold a secret show none, whoever prints, formats or pickles them."""

from __future__ import annotations

import base64
import copy
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys_lab import NOW_MS, lab
from tokens_lab import token

from keys import Identity, Keystore, Ticket, TransportKey
from keys.backups import back_up, open_backup
from keys.issuing.ticket_book import TicketBook
from keys.sealed import Cost
from keys.sealing import SealingSecret, Suite

SECRET = bytes(range(60, 92))


def objects(directory: Path) -> Iterator[tuple[object, bytes]]:
    yield Identity.from_secret(SECRET), SECRET
    yield TransportKey.from_secret(SECRET), SECRET
    yield SealingSecret(Suite.X25519, SECRET), SECRET
    yield Ticket.make(lab().top.network_id, b"ticket01", SECRET[:16], 900, 1, ()), SECRET[:16]
    made = token()
    yield made, made.text.encode()
    home = directory / "ada"
    store = Keystore.create_network(home, "lab", "ada", 1, now_ms=NOW_MS)
    assert store.issuer is not None
    ticket = store.issuer.invite(NOW_MS)
    note = TicketBook(home / "tickets").find(ticket.ticket_id)
    assert note is not None
    yield note, note.mac_key
    yield store, store.identity.export_secret()
    yield store.issuer, (home / "issuer.key").read_bytes()[-32:]
    store.sign_roster([store.identity.peer_id], NOW_MS)
    data = back_up(home, NOW_MS, passphrase="x", cost=Cost(1, 8 << 10))
    yield open_backup(data, passphrase="x"), store.identity.export_secret()


def forms(secret: bytes) -> tuple[bytes, ...]:
    return (
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"=")[:-1],
        base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1],
        repr(secret)[2:-1].encode(),
    )


def test_no_secret_is_shown_or_pickled(tmp_path: Path) -> None:
    for one, secret in objects(tmp_path):
        said = "\n".join((repr(one), str(one), f"{one}", f"{one!r}"))
        try:
            raise ValueError(one)
        except ValueError:
            said += traceback.format_exc()
        for form in forms(secret):
            assert form not in said.encode(), type(one)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="holds a secret"):
                pickle.dumps(one, protocol)
        with pytest.raises(TypeError):
            copy.deepcopy(one)
