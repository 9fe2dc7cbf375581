"""JSON Web Tokens (RFC 7519) with Ed25519 (RFC 8037), by PyJWT: what alone knows the library.

The only algorithm is EdDSA, whatever a header says. A header holds what we know and nothing else,
so none can bring a key of its own. The times are checked by us, against the clock that we are
given. The library is imported when a token is first wanted.

What this module does not know: what claims mean, whose keys these are.

Invariant: whatever text comes in, only a `TokenRefused` goes out.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from keys.identity import Identity
from keys.tokens.refusals import (
    TokenBadSignature,
    TokenExpired,
    TokenFromFuture,
    TokenLivesTooLong,
    TokenMalformed,
    TokensUnavailable,
    TokenWrongAudience,
)

ALGORITHM: Final = "EdDSA"
MAX_TOKEN_CHARS: Final = 4096
MAX_HEADER_CHARS: Final = 512
MAX_NAME_CHARS: Final = 128


def check_library() -> None:
    """
    Raises:
        TokensUnavailable: and how to install it.
    """
    _library()


def sign(key: Identity, header: Mapping[str, str], claims: Mapping[str, Any]) -> str:
    """A token with these claims.

    What is signed begins with a base64url of a header and never with `conclave/`, so it is no
    signature for anything else that the key signs.

    Raises:
        TokensUnavailable
    """
    jwt, ed25519 = _library()
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(key.export_secret())
    text: str = jwt.encode(dict(claims), secret, algorithm=ALGORITHM, headers=dict(header))
    return text


def read_header(
    text: str, wanted: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The header of a token, of which nothing is believed yet.

    Args:
        wanted, optional: the names that it has, and may have, and no others.

    Raises:
        TokenMalformed
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise TokenMalformed(f"it is longer than {MAX_TOKEN_CHARS:,} characters")
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        raise TokenMalformed("it has not three parts")
    if len(parts[0]) > MAX_HEADER_CHARS:
        raise TokenMalformed("its header is too long")
    header = _object(parts[0])
    if header.get("alg") != ALGORITHM:
        raise TokenMalformed(f"its algorithm is not {ALGORITHM}")
    if not wanted <= set(header) <= wanted | optional or not all(
        isinstance(value, str) and len(value) <= MAX_NAME_CHARS for value in header.values()
    ):
        raise TokenMalformed(f"its header is not {', '.join(sorted(wanted))}")
    return header


def read_claims(text: str) -> dict[str, Any]:
    """The claims of a token that was not verified: to find out whose it may be.

    Raises:
        TokenMalformed
    """
    if len(text) > MAX_TOKEN_CHARS or text.count(".") != 2:
        raise TokenMalformed("it has not three parts, or is too long")
    return _object(text.split(".")[1])


def verify(
    text: str,
    public_key: bytes,
    who: str,
    *,
    issuer: str,
    audiences: tuple[str, ...],
    claims: frozenset[str],
) -> dict[str, Any]:
    """The claims of a token that this key has signed, for one of these audiences.

    Args:
        who: whose the key is, for errors.
        claims: which it has to have.

    Raises:
        TokensUnavailable, TokenRefused.
    """
    jwt, ed25519 = _library()
    off = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
        found: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=[ALGORITHM],
            audience=list(audiences),
            issuer=issuer,
            options={**off, "require": sorted(claims)},
        )
    except jwt.InvalidSignatureError as error:
        raise TokenBadSignature(who) from error
    except jwt.InvalidAudienceError as error:
        raise TokenWrongAudience("it names another node or network") from error
    except jwt.InvalidIssuerError as error:
        raise TokenWrongAudience("it is of another network, or names another issuer") from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenMalformed(type(error).__name__) from error
    return found


def check_times(found: Mapping[str, Any], now_ms: int, life_s: int, skew_ms: int) -> int:
    """When the token ends, in milliseconds, if it is good now.

    Args:
        life_s: for how long one may be good at most.
        skew_ms: by how much two clocks may differ.

    Raises:
        TokenMalformed, TokenExpired, TokenFromFuture, TokenLivesTooLong.
    """
    issued_s, ends_s = found.get("iat"), found.get("exp")
    if type(issued_s) is not int or type(ends_s) is not int or not 0 < issued_s < ends_s < 2**43:
        raise TokenMalformed("its times are no whole seconds, or end before they begin")
    if ends_s - issued_s > life_s:
        raise TokenLivesTooLong(ends_s - issued_s, life_s)
    if now_ms < issued_s * 1000 - skew_ms:
        raise TokenFromFuture(issued_s * 1000 - now_ms)
    if now_ms >= ends_s * 1000 + skew_ms:
        raise TokenExpired(now_ms - ends_s * 1000)
    return ends_s * 1000


def text_of(found: Mapping[str, Any], name: str, limit_chars: int = MAX_NAME_CHARS) -> str:
    """A claim that is a text.

    Raises:
        TokenMalformed
    """
    value = found.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= limit_chars:
        raise TokenMalformed(f"its {name} is no text of 1 to {limit_chars} characters")
    return value


def _object(part: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)
        found = json.loads(data)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise TokenMalformed("a part of it is no base64url of JSON") from error
    if not isinstance(found, dict):
        raise TokenMalformed("a part of it is no JSON object")
    return found


def _library() -> tuple[Any, Any]:
    try:
        import jwt
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise TokensUnavailable from error
    return jwt, ed25519
