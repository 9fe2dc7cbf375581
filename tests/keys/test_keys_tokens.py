"""Session tokens: what is taken, what is refused and why, and what a bearer may do."""

from __future__ import annotations

import hashlib
import hmac
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS, key
from tokens_lab import (
    CLIENT_KEY,
    HERE,
    JTI,
    LAB,
    MEMBER,
    MINUTE_MS,
    NETWORK,
    TEXT,
    forged,
    grant,
    opened,
    part,
    signed,
    token,
    verified,
)

from keys import Action, Guard, InvalidValue, Permission, Role, permissions_of
from keys.policies import parse_policy
from keys.tokens import (
    Scope,
    ScopeInvalid,
    TokenBadSignature,
    TokenExpired,
    TokenFromFuture,
    TokenIssuerMayNot,
    TokenLivesTooLong,
    TokenMalformed,
    TokenOfStranger,
    TokenRefused,
    TokensUnavailable,
    TokenTooWide,
    TokenWrongAudience,
    issue_token,
    verify_token,
)

# -- access tokens -----------------------------------------------------------------------------


def test_a_token_says_who_bears_it_and_what_for() -> None:
    header, claims = opened(TEXT)
    assert header["typ"] == "at+jwt"
    assert (claims["iss"], claims["sub"], claims["client_id"]) == (NETWORK, *["client:web"] * 2)
    assert claims["exp"] - claims["iat"] == 600
    caller = verified()
    assert (caller.subject, str(caller.scope)) == ("client:web", "call:math.*")
    assert caller.principal.roles == Role.SERVICE
    assert caller.principal.permissions == permissions_of(Role.SERVICE) & MEMBER.permissions
    assert not caller.principal.may(Permission.CONFIG_CHANGE)
    assert verified(token(audience=NETWORK).text).audience == NETWORK
    assert TEXT not in repr(token()) + str(token())


@pytest.mark.parametrize(
    ("header", "claims", "error"),
    [
        ({"alg": "none"}, {}, TokenMalformed),
        ({"alg": "HS256"}, {}, TokenMalformed),
        ({"alg": "eddsa"}, {}, TokenMalformed),
        ({"alg": "ES256"}, {}, TokenMalformed),
        ({"alg": None}, {}, TokenMalformed),
        ({"alg": ["EdDSA"]}, {}, TokenMalformed),
        ({"typ": "JWT"}, {}, TokenMalformed),
        ({"typ": None}, {}, TokenMalformed),
        ({"crit": ["exp"]}, {}, TokenMalformed),
        ({"jwk": {"kty": "OKP"}}, {}, TokenMalformed),
        ({"jku": "http://127.0.0.1/"}, {}, TokenMalformed),
        ({"b64": False}, {}, TokenMalformed),
        ({"kid": "x" * 200}, {}, TokenMalformed),
        ({"kid": LAB.issuer.peer_id}, {}, TokenOfStranger),
        ({}, {"iss": LAB.peer.peer_id}, TokenWrongAudience),
        ({}, {"iss": None}, TokenMalformed),
        ({}, {"aud": LAB.issuer.peer_id}, TokenWrongAudience),
        ({}, {"aud": None}, TokenMalformed),
        ({}, {"aud": list(HERE)}, TokenMalformed),
        ({}, {"aud": 7}, TokenWrongAudience),
        ({}, {"jti": None}, TokenMalformed),
        ({}, {"jti": "short"}, TokenMalformed),
        ({}, {"jti": 5}, TokenMalformed),
        ({}, {"exp": None}, TokenMalformed),
        ({}, {"exp": "tomorrow"}, TokenMalformed),
        ({}, {"exp": 1.7e12}, TokenMalformed),
        ({}, {"exp": 10**300}, TokenMalformed),
        ({}, {"exp": True}, TokenMalformed),
        ({}, {"iat": None}, TokenMalformed),
        ({}, {"iat": -1}, TokenMalformed),
        ({}, {"exp": NOW_MS // 1000 + 16 * 60}, TokenLivesTooLong),
        ({}, {"sub": "client:other"}, TokenMalformed),
        ({}, {"sub": LAB.issuer.peer_id, "client_id": LAB.issuer.peer_id}, TokenMalformed),
        ({}, {"scope": "fly:moon"}, TokenMalformed),
        ({}, {"scope": ""}, TokenMalformed),
        ({}, {"scope": ["call:*"]}, TokenMalformed),
        ({}, {"roles": "emperor"}, TokenMalformed),
        ({}, {"roles": "manager"}, TokenTooWide),
        ({}, {"roles": 8}, TokenMalformed),
        ({}, {"reg": 8}, TokenMalformed),
        ({}, {"reg": None}, TokenMalformed),
        ({}, {"admin": True}, TokenMalformed),
    ],
)
def test_a_token_that_its_issuer_signed_so_is_refused(
    header: dict[str, Any], claims: dict[str, Any], error: type[TokenRefused]
) -> None:
    text = forged(TEXT, LAB.peer, header, claims)
    with pytest.raises(error) as refused:
        verified(text)
    assert text not in str(refused.value)


def test_nobody_but_the_issuer_signs() -> None:
    for other in (LAB.issuer, LAB.root, CLIENT_KEY, key(77)):
        with pytest.raises(TokenBadSignature):
            verified(forged(TEXT, other, {}, {}))
    body = TEXT.rpartition(".")[0]
    for signature in ("", part(bytes(64)), TEXT.rpartition(".")[2][:-4]):
        with pytest.raises(TokenRefused):
            verified(f"{body}.{signature}")
    # The public key as an HMAC secret, the classic confusion.
    header, claims = opened(TEXT)
    head = f"{part({**header, 'alg': 'HS256'})}.{part(claims)}"
    mac = hmac.new(MEMBER.public_key, head.encode(), hashlib.sha256).digest()
    with pytest.raises(TokenMalformed, match="algorithm"):
        verified(f"{head}.{part(mac)}")
    with pytest.raises(TokenMalformed, match="algorithm"):
        verified(f"{part({**header, 'alg': 'none'})}.{part(claims)}.")


def test_no_signature_for_another_purpose_makes_a_token() -> None:
    header, claims, _ = TEXT.split(".")
    body = f"{header}.{claims}".encode()
    for domain in ("record", "sealed", "certificate"):
        with pytest.raises(TokenBadSignature):
            verified(f"{header}.{claims}.{part(LAB.peer.sign(domain, body))}")


def test_times_are_judged_with_two_minutes_of_grace() -> None:
    ends_ms = NOW_MS + 10 * MINUTE_MS
    assert verified(now_ms=ends_ms + 119_000)
    with pytest.raises(TokenExpired):
        verified(now_ms=ends_ms + 120_000)
    assert verified(now_ms=NOW_MS - 119_000)
    with pytest.raises(TokenFromFuture):
        verified(now_ms=NOW_MS - 121_000)


def test_the_issuer_is_judged_as_it_is_now() -> None:
    with pytest.raises(TokenOfStranger):
        verify_token(TEXT, None, HERE, NOW_MS)
    with pytest.raises(TokenIssuerMayNot):
        verified(permissions=permissions_of(Role.SERVICE))
    with pytest.raises(TokenTooWide):
        verified(roles=Role.ADMIN)
    with pytest.raises(TokenOfStranger, match="ended"):
        verified(not_after_ms=NOW_MS - 121_000)


def test_nobody_gives_what_it_has_not() -> None:
    service = replace(MEMBER, roles=Role.SERVICE, permissions=permissions_of(Role.SERVICE))
    with pytest.raises(TokenIssuerMayNot, match="TOKEN_ISSUE"):
        issue_token(LAB.peer, service, grant(), NOW_MS, JTI, 600)
    with pytest.raises(TokenTooWide, match="manager"):
        token(roles=Role.MANAGER)
    for life_s in (0, -1, 901):
        with pytest.raises(InvalidValue):
            token(life_s=life_s)
    with pytest.raises(InvalidValue):
        token(audience="http://example")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "x" * 5000,
        f"{part([])}.{part({})}.AA",
        f"{part(b'[' * 3000)}.AA.AA"[:4000],
        f"{part(b'{' * 300)}.AA.AA",
        f"{part(bytes(range(256)))}.AA.AA",
        f"{part({'alg': 'EdDSA', 'a': 'x' * 600})}.AA.AA",
        "é.é.é",
        TEXT + ".x",
        TEXT + "\n",
        " " + TEXT,
    ],
)
def test_what_is_no_token_is_refused_in_words(text: str) -> None:
    with pytest.raises(TokenRefused):
        verified(text)


def test_claims_that_are_deep_or_strange_are_refused() -> None:
    header, _ = opened(TEXT)
    for claims in (b"[" * 2500, b"NaN", b"null", b"1", b'{"a":' * 400, b"\xff"):
        with pytest.raises(TokenRefused):
            verified(signed(LAB.peer, header, claims))


@given(st.text(max_size=300))
def test_random_text_is_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        verified(text)


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_token_with_another_character_says_the_same_or_is_refused(at: int, other: str) -> None:
    try:
        caller = verified(TEXT[:at] + other + TEXT[at + 1 :])
    except TokenRefused:
        return
    assert caller == verified()


# -- what a bearer may do ----------------------------------------------------------------------


def test_a_bearer_may_what_scope_issuer_roles_and_policies_allow() -> None:
    guard = Guard()
    caller = verified(token(scope=Scope.parse("call:math.* write:x configure:policy")).text)
    assert caller.refusal(guard, Action.CALL, "math.add") is None
    assert "scope" in str(caller.refusal(guard, Action.CALL, "text.upper"))
    assert "scope" in str(caller.refusal(guard, Action.NOTIFY, "math.add"))
    assert "CONFIG_CHANGE" in str(caller.refusal(guard, Action.CONFIGURE, "policy"))
    narrow = replace(caller, issuer=replace(MEMBER, namespaces=("shop",)))
    assert narrow.refusal(guard, Action.CALL, "math.add") is None, "it is in no namespace"
    held = caller.within(("shop",))
    assert held.principal.namespaces == ("shop",)
    everything = '[[rule]]\nname="all"\neffect="allow"\nwho="*"\nactions="*"\nwhat="*"\n'
    for who in ("name:alpha", f"peer:{MEMBER.peer_id}", "role:service"):
        no = f'[[rule]]\nname="no"\neffect="deny"\nwho="{who}"\nactions="call"\nwhat="math.*"\n'
        guard.set_replicated(parse_policy(f"version = 1\n{everything}{no}"))
        assert "rule 'no'" in str(caller.refusal(guard, Action.CALL, "math.add")), who
    own = '[[rule]]\nname="a"\neffect="allow"\nwho="name:alpha"\nactions="*"\nwhat="*"\n'
    guard.set_replicated(parse_policy(f"version = 1\n{own}"))
    assert "no rule" in str(caller.refusal(guard, Action.CALL, "math.add")), "a client is no member"


def test_what_the_guard_remembers_of_a_token_is_of_that_token_alone() -> None:
    guard, one = Guard(), verified()
    wide = issue_token(LAB.peer, MEMBER, grant(roles=Role.ADMIN), NOW_MS, bytes(16), 600)
    two = verified(wide.text)
    assert one.principal.certificate_digest != two.principal.certificate_digest
    assert one.principal.certificate_digest != MEMBER.certificate_digest
    assert guard.may(two.principal, Action.CONFIGURE, "policy")
    assert not guard.may(one.principal, Action.CONFIGURE, "policy")


@pytest.mark.parametrize(
    "text",
    ["", "call", "call:", ":x", "fly:x", "call:a*", "call:*a", "call:a b:c", 'call:"', "call:\x00",
     "call:" + "x" * 300, "call:ma*th.*", " ".join(f"call:a{n}" for n in range(40))],
)  # fmt: skip
def test_a_scope_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ScopeInvalid):
        Scope.parse(text)


def test_a_scope_holds_another_only_where_it_holds_all_of_it() -> None:
    def holds(wide: str, narrow: str) -> bool:
        return Scope.parse(narrow).lacking(Scope.parse(wide)) is None

    assert holds("call:math.*", "call:math.add call:math.fast.*")
    assert holds("call:*", "call:math.*")
    assert not holds("call:math.*", "call:*")
    assert not holds("call:math.*", "call:mathematics")
    assert not holds("call:math.*", "publish:math.x")
    assert not holds("call:math.add", "call:math.*")


_WORDS = st.sampled_from(["*", "a", "a.b", "a.*", "a.b.*", "a/*", "b", "a.b.c"])
_SCOPES = st.sets(st.tuples(st.sampled_from(["call", "read"]), _WORDS), min_size=1, max_size=4)


@given(_SCOPES, _SCOPES, st.sampled_from(list(Action)), _WORDS)
def test_whoever_has_a_narrower_scope_can_do_nothing_more(
    wide: set[tuple[str, str]], narrow: set[tuple[str, str]], action: Action, what: str
) -> None:
    outer = Scope.of(f"{a}:{w}" for a, w in wide)
    inner = Scope.of(f"{a}:{w}" for a, w in narrow)
    assert Scope.parse(str(inner)) == inner
    if inner.lacking(outer) is None and "*" not in what and inner.allows(action, what):
        assert outer.allows(action, what)


def test_without_the_library_the_pip_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(TokensUnavailable, match=r"pip install 'conclave-mesh\[tokens\]'"):
        token()
    with pytest.raises(TokensUnavailable):
        verified()
