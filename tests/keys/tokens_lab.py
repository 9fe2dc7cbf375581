"""A member that may issue tokens, a client, and the means to forge both."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

from keys_lab import NOW_MS, key, lab

from keys import Identity, Principal, Role
from keys.tokens import (
    DEFAULT_LIFE_S,
    Caller,
    Client,
    Grant,
    Issued,
    Scope,
    issue_token,
    verify_token,
)

LAB = lab()
MEMBER: Principal = LAB.principal  # alpha: admin and service
NETWORK = MEMBER.network_id
HERE = (MEMBER.peer_id, NETWORK)
JTI = bytes(range(16))
CLIENT_KEY = key(40)
CLIENT = Client(
    "web",
    CLIENT_KEY.public_key,
    Scope.parse("call:math.* publish:news/*"),
    Role.SERVICE,
    ("*",),
    b"12345678",
    NOW_MS,
    "alpha",
)


def grant(**changes: Any) -> Grant:
    said = {
        "subject": "client:web",
        "audience": MEMBER.peer_id,
        "scope": Scope.parse("call:math.*"),
        "roles": Role.SERVICE,
        "registration": CLIENT.registration.hex(),
        **changes,
    }
    return Grant(**said)


def token(now_ms: int = NOW_MS, life_s: int = DEFAULT_LIFE_S, **changes: Any) -> Issued:
    return issue_token(LAB.peer, MEMBER, grant(**changes), now_ms, JTI, life_s)


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def opened(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = text.split(".")
    pad = lambda word: base64.urlsafe_b64decode(word + "==")  # noqa: E731
    return json.loads(pad(header)), json.loads(pad(claims))


def signed(signer: Identity, header: object, claims: object) -> str:
    """Any header and claims, signed by hand, so that no library stands in the way."""
    from nacl.signing import SigningKey

    body = f"{part(header)}.{part(claims)}"
    secret = SigningKey(signer.export_secret())
    return f"{body}.{part(secret.sign(body.encode()).signature)}"


def forged(text: str, signer: Identity, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token again, with changes; None takes a name away."""
    old_header, old_claims = opened(text)
    new_header = {k: v for k, v in {**old_header, **header}.items() if v is not None}
    new_claims = {k: v for k, v in {**old_claims, **claims}.items() if v is not None}
    return signed(signer, new_header, new_claims)


MINUTE_MS = 60_000
TEXT = token().text


def verified(text: str = TEXT, now_ms: int = NOW_MS, **changes: Any) -> Caller:
    return verify_token(text, replace(MEMBER, **changes), HERE, now_ms)
