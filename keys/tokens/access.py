"""Access tokens: what a member lets somebody outside do, for some minutes (RFC 9068).

    header   typ at+jwt, alg EdDSA, kid the issuing member's peer id, chn its certificate's digest
    claims   iss network id, sub, client_id, aud a peer id or the network's, iat, exp, jti,
             scope, roles, and reg: which registration of the client it was given to

A token gives no right that its issuer lacks: what its bearer does is judged by the scope, as the
issuer, and as somebody with the roles of the token. The issuer's rights are those of now, not of
when it signed: `chn` only says which certificate it had.

What this module does not know: who is a member, clients, what was revoked, HTTP.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keys.errors import InvalidValue
from keys.guard import Guard
from keys.identity import Identity, PeerId, decode_id, fingerprint
from keys.policy import Action
from keys.principal import Principal
from keys.roles import Permission, Role, permissions_of, role_words, roles_named
from keys.secret import Unpicklable
from keys.tokens.jwts import check_times, read_header, sign, text_of, verify
from keys.tokens.refusals import (
    ScopeInvalid,
    TokenIssuerMayNot,
    TokenMalformed,
    TokenOfStranger,
    TokenTooWide,
)
from keys.tokens.scope import MAX_CHARS, Scope
from keys.trust import SKEW_MS

TYPE: Final = "at+jwt"
MAX_LIFE_S: Final = 15 * 60
DEFAULT_LIFE_S: Final = 10 * 60
JTI_BYTES: Final = 16
REGISTRATION_BYTES: Final = 8
CLIENT: Final = "client:"

_HEADER: Final = frozenset({"typ", "alg", "kid", "chn"})
_CLAIMS: Final = frozenset(
    {"iss", "sub", "client_id", "aud", "iat", "exp", "jti", "scope", "roles", "reg"}
)
JTI: Final = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is to say, beside who signs it and when."""

    subject: str
    audience: str
    scope: Scope
    roles: Role
    registration: str = ""  # of the client; empty for a member's own


@dataclass(frozen=True, slots=True)
class Issued(Unpicklable):
    """A token that was made; its text is a secret."""

    text: str = field(repr=False)
    jti: str
    expires_ms: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever bears a token, as it was verified.

    Attributes:
        issuer: the member that gave it, as it is now.
        principal: what policies see: the issuer's id, a name that no member has, the token's roles.
    """

    subject: str
    registration: str
    issuer: Principal
    principal: Principal
    scope: Scope
    audience: str
    jti: str
    expires_ms: int

    @property
    def is_client(self) -> bool:
        return self.subject.startswith(CLIENT)

    def within(self, namespaces: tuple[str, ...]) -> Caller:
        """The same, held to these namespaces as well."""
        return replace(self, principal=replace(self.principal, namespaces=namespaces))

    def refusal(self, guard: Guard, action: Action, what: str) -> str | None:
        """Why this must not be done, in words; None where it may."""
        if not self.scope.allows(action, what):
            guard.deny(self.principal, action, what, "scope")
            return f"the scope of the token of {self.subject} does not hold {action}:{what[:200]}"
        return guard.refusal(self.issuer, action, what) or guard.refusal(
            self.principal, action, what
        )


def issue_token(
    key: Identity, issuer: Principal, grant: Grant, now_ms: int, jti: bytes, life_s: int
) -> Issued:
    """
    Raises:
        TokenIssuerMayNot, TokenTooWide: the issuer has no such right to give.
        InvalidValue: the life is none of 1 s to 15 minutes, or the audience is no id.
        TokensUnavailable.
    """
    assert len(jti) == JTI_BYTES
    assert key.peer_id == issuer.peer_id
    if not 1 <= life_s <= MAX_LIFE_S:
        raise InvalidValue("a token", f"is good for 1 s to {MAX_LIFE_S // 60} min, not {life_s} s")
    _check_issuer(issuer, grant.roles)
    decode_id(grant.audience)
    issued_s, name = now_ms // 1000, _base64(jti)
    claims = {
        "iss": issuer.network_id,
        "sub": grant.subject,
        "client_id": grant.subject,
        "aud": grant.audience,
        "iat": issued_s,
        "exp": issued_s + life_s,
        "jti": name,
        "scope": str(grant.scope),
        "roles": role_words(grant.roles),
        "reg": grant.registration,
    }
    digest = _base64(issuer.certificate_digest)
    header = {"typ": TYPE, "kid": issuer.peer_id, "chn": digest}
    return Issued(sign(key, header, claims), name, (issued_s + life_s) * 1000, grant.scope)


def issuer_named(text: str) -> PeerId:
    """Who says that it signed a token. Not believed yet.

    Raises:
        TokenMalformed
    """
    header = read_header(text, _HEADER)
    if header["typ"] != TYPE:
        raise TokenMalformed(f"its type is not {TYPE}")
    return PeerId(header["kid"])


def verify_token(
    text: str, issuer: Principal | None, audiences: tuple[str, ...], now_ms: int
) -> Caller:
    """Who bears this token.

    Args:
        issuer: the member that `issuer_named` names; None if there is none.
        audiences: whom a token may be for to be taken here.

    Raises:
        TokenRefused, TokensUnavailable.
    """
    named = issuer_named(text)
    if issuer is None:
        raise TokenOfStranger(named[:52], "we know no such member")
    if issuer.peer_id != named:
        raise TokenOfStranger(named[:52], f"that is not {issuer.name}")
    found = verify(
        text,
        issuer.public_key,
        issuer.name,
        issuer=issuer.network_id,
        audiences=audiences,
        claims=_CLAIMS,
    )
    expires_ms = check_times(found, now_ms, MAX_LIFE_S, SKEW_MS)
    if now_ms > issuer.not_after_ms + SKEW_MS:
        raise TokenOfStranger(issuer.name, "its certificate has ended")
    return _caller(found, issuer, expires_ms)


def _caller(found: Mapping[str, Any], issuer: Principal, expires_ms: int) -> Caller:
    if set(found) != _CLAIMS:
        raise TokenMalformed("it has claims that no token of ours has")
    subject, jti = text_of(found, "sub"), text_of(found, "jti")
    registration = found["reg"]
    if subject != found["client_id"] or not isinstance(registration, str) or not JTI.fullmatch(jti):
        raise TokenMalformed("its client_id, reg or jti is not one of ours")
    if not subject.startswith(CLIENT) and subject != issuer.peer_id:
        raise TokenMalformed("its subject is neither a client nor its issuer")
    try:
        scope, roles = Scope.parse(text_of(found, "scope", MAX_CHARS)), _roles(found)
    except (ScopeInvalid, InvalidValue) as error:
        raise TokenMalformed(str(error)) from error
    _check_issuer(issuer, roles)
    principal = replace(
        issuer,
        name=subject if subject.startswith(CLIENT) else f"{CLIENT}{issuer.name}",
        roles=roles,
        permissions=permissions_of(roles) & issuer.permissions,
        # What the guard remembers of somebody, it remembers by this.
        certificate_digest=fingerprint(b"conclave/token\0" + jti.encode() + issuer.public_key),
    )
    audience = found["aud"]
    if not isinstance(audience, str):
        raise TokenMalformed("it has several audiences")
    return Caller(subject, registration, issuer, principal, scope, audience, jti, expires_ms)


def _check_issuer(issuer: Principal, roles: Role) -> None:
    if not issuer.may(Permission.TOKEN_ISSUE):
        raise TokenIssuerMayNot(issuer.name)
    if roles & ~issuer.roles:
        raise TokenTooWide(
            f"{issuer.name} has the roles {role_words(issuer.roles)}, and not"
            f" {role_words(roles & ~issuer.roles)}"
        )


def _roles(found: Mapping[str, Any]) -> Role:
    words = text_of(found, "roles")
    return Role(0) if words == role_words(Role(0)) else roles_named(words)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
