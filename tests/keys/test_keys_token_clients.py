"""Clients of session tokens: their assertions, and the book that says who is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from keys_lab import NOW_MS, key
from tokens_lab import (
    CLIENT,
    CLIENT_KEY,
    LAB,
    MEMBER,
    MINUTE_MS,
    TEXT,
    forged,
    token,
    verified,
)

from keys import InvalidValue
from keys.tokens import (
    CLIENTS,
    REVOKED,
    Assertions,
    Client,
    TokenBadSignature,
    TokenBook,
    TokenClientUnknown,
    TokenExpired,
    TokenFromFuture,
    TokenLivesTooLong,
    TokenMalformed,
    TokenRefused,
    TokenReplayed,
    TokenRevoked,
    TokensBusy,
    TokensNotKnown,
    TokenWrongAudience,
    client_named,
    make_assertion,
)

# -- clients -----------------------------------------------------------------------------------


def assertion(now_ms: int = NOW_MS + MINUTE_MS, jti: str = "one", life_s: int = 60) -> str:
    return make_assertion(CLIENT_KEY, "web", MEMBER.peer_id, now_ms, jti, life_s)


def take(seen: Assertions, text: str, now_ms: int = NOW_MS + MINUTE_MS) -> None:
    assert client_named(text) == "web"
    seen.take(text, CLIENT, MEMBER.peer_id, now_ms)


def test_an_assertion_is_taken_once() -> None:
    seen = Assertions(NOW_MS)
    take(seen, assertion())
    with pytest.raises(TokenReplayed):
        take(seen, assertion())
    for later_ms in range(1000, 70_000, 1000):
        with pytest.raises((TokenReplayed, TokenExpired)):
            take(seen, assertion(), NOW_MS + MINUTE_MS + later_ms)
    take(seen, assertion(jti="two", now_ms=NOW_MS + 3 * MINUTE_MS), NOW_MS + 3 * MINUTE_MS)
    assert len(seen) == 1, "what has ended is forgotten"
    with pytest.raises((TokenReplayed, TokenExpired)):
        take(seen, assertion())  # the clock went back


def test_a_node_that_starts_anew_takes_nothing_that_it_could_have_taken_before() -> None:
    for ahead_ms in (-30_000, 0, 9_000):
        text = assertion(NOW_MS + ahead_ms)
        before = Assertions(NOW_MS - 10 * MINUTE_MS)
        take(before, text, NOW_MS)
        with pytest.raises(TokensNotKnown, match="just started"):
            take(Assertions(NOW_MS + 1), text, NOW_MS + 1)


@pytest.mark.parametrize(
    ("header", "claims", "error"),
    [
        ({"alg": "none"}, {}, TokenMalformed),
        ({"alg": "HS256"}, {}, TokenMalformed),
        ({"jwk": "x"}, {}, TokenMalformed),
        ({}, {"aud": LAB.issuer.peer_id}, TokenWrongAudience),
        ({}, {"aud": [MEMBER.peer_id, LAB.issuer.peer_id]}, TokenWrongAudience),
        ({}, {"aud": None}, TokenMalformed),
        ({}, {"jti": None}, TokenMalformed),
        ({}, {"jti": ""}, TokenMalformed),
        ({}, {"jti": "x" * 129}, TokenMalformed),
        ({}, {"sub": "client:root"}, TokenMalformed),
        ({}, {"iss": "client:other"}, TokenWrongAudience),
        ({}, {"exp": NOW_MS // 1000 + 60 + 61}, TokenLivesTooLong),
        ({}, {"iat": NOW_MS // 1000 + 71, "exp": NOW_MS // 1000 + 90}, TokenFromFuture),
        ({}, {"iat": NOW_MS // 1000, "exp": NOW_MS // 1000 + 50}, TokenExpired),
        ({}, {"exp": None}, TokenMalformed),
    ],
)
def test_an_assertion_that_its_client_signed_so_is_refused(
    header: dict[str, Any], claims: dict[str, Any], error: type[TokenRefused]
) -> None:
    text = forged(assertion(), CLIENT_KEY, header, claims)
    with pytest.raises(error):
        client_named(text)
        Assertions(NOW_MS - MINUTE_MS).take(text, CLIENT, MEMBER.peer_id, NOW_MS + MINUTE_MS)


def test_an_assertion_of_another_key_or_a_token_of_ours_is_none() -> None:
    seen = Assertions(NOW_MS)
    with pytest.raises(TokenBadSignature):
        take(seen, forged(assertion(), key(9), {}, {}))
    with pytest.raises(TokenMalformed):
        client_named(TEXT)
    with pytest.raises(TokenRefused):
        verified(assertion())


def test_one_client_cannot_fill_the_memory() -> None:
    seen = Assertions(NOW_MS)
    for number in range(120):
        take(seen, assertion(jti=str(number)))
    with pytest.raises(TokensBusy):
        take(seen, assertion(jti="more"))
    later_ms = NOW_MS + 4 * MINUTE_MS
    take(seen, assertion(later_ms, "later"), later_ms)


# -- the book ----------------------------------------------------------------------------------


def test_the_book_refuses_what_was_taken_back_and_all_until_it_knows() -> None:
    book, caller = TokenBook(), verified()
    with pytest.raises(TokensNotKnown):
        book.judge(caller)
    book.replace([])
    with pytest.raises(TokenClientUnknown):
        book.judge(caller)
    book.change(CLIENTS + "web", CLIENT.encode())
    assert book.judge(caller) == caller.within(("*",))
    book.change(REVOKED + caller.jti, b"")
    with pytest.raises(TokenRevoked):
        book.judge(caller)
    book.change(REVOKED + caller.jti, None)
    again = replace(CLIENT, registration=b"another!")
    book.change(CLIENTS + "web", again.encode())
    with pytest.raises(TokenClientUnknown):
        book.judge(caller)
    for bad in (b"", b"junk", replace(CLIENT, name="other").encode()):
        book.change(CLIENTS + "web", bad)
        with pytest.raises(TokenClientUnknown):
            book.judge(caller)
    own = verified(token(subject=MEMBER.peer_id, registration="").text)
    assert book.judge(own) == own


def test_a_client_is_read_as_it_was_written_or_refused() -> None:
    assert Client.decode(CLIENT.encode()) == CLIENT
    data = CLIENT.encode()
    for at in range(len(data)):
        broken = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert Client.decode(broken).encode() == broken
        except InvalidValue:
            continue
    for changes in ({"name": "a b"}, {"namespaces": ("A*",)}, {"public_key": b"short"}):
        with pytest.raises(InvalidValue):
            Client.decode(replace(CLIENT, **changes).encode())
