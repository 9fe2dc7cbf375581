"""Harnesses for session tokens, and for what clients show to get them."""

from __future__ import annotations

import base64

from fuzz_keys import NETWORK, NOW_MS, P
from fuzz_lab import Harness
from nacl.signing import SigningKey

from keys import (
    KeysError,
    Role,
    tokens,
    verify,
)

TOKEN_ISSUER = verify(P.chain, P.trust, NOW_MS)
CLIENT = tokens.Client(
    "web",
    P.peer.public_key,
    tokens.Scope.parse("call:math.*"),
    Role.SERVICE,
    ("*",),
    bytes(8),
    NOW_MS,
    "alpha",
)


TOKEN = tokens.issue_token(
    P.peer,
    TOKEN_ISSUER,
    tokens.Grant("client:web", NETWORK, CLIENT.scope, Role.SERVICE, bytes(8).hex()),
    NOW_MS,
    bytes(16),
    600,
)


ASSERTION = tokens.make_assertion(P.peer, "web", P.peer.peer_id, NOW_MS, "jti")


def _assertion(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    tokens.client_named(text)
    tokens.Assertions(NOW_MS - 60_000).take(text, CLIENT, P.peer.peer_id, NOW_MS)


def _signed_token(data: bytes) -> bytes:
    """Sign it again, so that what is behind the signature is fuzzed too."""
    body = data.rpartition(b".")[0]
    signature = SigningKey(P.peer.export_secret()).sign(body).signature
    return body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


HARNESSES = [
    Harness(
        "token",
        lambda data: tokens.verify_token(
            data.decode("utf-8", "replace"), TOKEN_ISSUER, (P.peer.peer_id, NETWORK), NOW_MS
        ),
        [TOKEN.text.encode()],
        (KeysError,),
        ("keys.tokens.jwts:read_header", "keys.tokens.jwts:read_claims"),
        mend=_signed_token,
        is_text=True,
    ),
    Harness(
        "assertion",
        _assertion,
        [ASSERTION.encode()],
        (KeysError,),
        mend=_signed_token,
        is_text=True,
    ),
    Harness(
        "scope",
        lambda data: tokens.Scope.parse(data.decode("utf-8", "replace")),
        [b"call:math.* publish:news/* read:*"],
        (KeysError,),
        ("keys.tokens.scope:Scope.parse",),
        is_text=True,
    ),
    Harness(
        "token-client",
        tokens.Client.decode,
        [CLIENT.encode()],
        (KeysError,),
        ("keys.tokens.book:Client.decode",),
    ),
]
