"""How a client outside proves who it is: `private_key_jwt` (RFC 7523), once for each assertion.

    header   alg EdDSA; typ and kid may be there
    claims   iss and sub: client:NAME; aud: the peer id of the node that is asked; iat; exp, at most
             60 s later; jti

An assertion is taken once. What was taken is remembered until it has ended; a node that has just
started remembers nothing, and so takes none that could have been shown to it before. It is for one
node, so that no other one takes it again.

What this module does not know: HTTP, who is registered.

Invariants: memory is bounded for each client; no assertion is taken twice, also when the clock
goes back.
"""

from __future__ import annotations

from typing import Final

from keys.identity import Identity
from keys.tokens.access import CLIENT
from keys.tokens.book import Client
from keys.tokens.jwts import check_times, read_claims, read_header, sign, text_of, verify
from keys.tokens.refusals import (
    TokenMalformed,
    TokenReplayed,
    TokensBusy,
    TokensNotKnown,
    TokenWrongAudience,
)

MAX_LIFE_S: Final = 60
SKEW_MS: Final = 10_000
MAX_REMEMBERED: Final = 120  # of one client; more than one a second

_CLAIMS: Final = frozenset({"iss", "sub", "aud", "iat", "exp", "jti"})


def make_assertion(
    key: Identity, name: str, audience: str, now_ms: int, jti: str, life_s: int = MAX_LIFE_S
) -> str:
    """What a client of this name shows to the node `audience`."""
    client, issued_s = CLIENT + name, now_ms // 1000
    times = {"iat": issued_s, "exp": issued_s + life_s}
    claims = {"iss": client, "sub": client, "aud": audience, "jti": jti, **times}
    return sign(key, {"typ": "JWT"}, claims)


def client_named(text: str) -> str:
    """The client that an assertion says it is of. Not believed yet.

    Raises:
        TokenMalformed
    """
    read_header(text, frozenset({"alg"}), frozenset({"typ", "kid"}))
    name = text_of(read_claims(text), "iss")
    if not name.startswith(CLIENT):
        raise TokenMalformed(f"its issuer is no client: {CLIENT}NAME")
    return name.removeprefix(CLIENT)


class Assertions:
    """What one node was shown.

    Args:
        started_ms: since when it remembers.
    """

    def __init__(self, started_ms: int) -> None:
        self._since_ms = started_ms
        self._latest_ms = started_ms
        self._seen: dict[str, dict[str, int]] = {}  # client -> jti -> when it may be forgotten

    def take(self, text: str, client: Client, audience: str, now_ms: int) -> None:
        """Take an assertion of this client, once.

        Raises:
            TokenRefused, TokensUnavailable.
        """
        # A clock that goes back would make what was forgotten good again.
        self._latest_ms = now_ms = max(self._latest_ms, now_ms)
        subject = CLIENT + client.name
        found = verify(
            text, client.public_key, subject, issuer=subject, audiences=(audience,), claims=_CLAIMS
        )
        if found["sub"] != subject:
            raise TokenMalformed("its subject is another one than its issuer")
        if found["aud"] != audience:
            raise TokenWrongAudience("it is for several")
        ends_ms = check_times(found, now_ms, MAX_LIFE_S, SKEW_MS)
        jti = text_of(found, "jti")
        if found["iat"] * 1000 < self._since_ms + SKEW_MS:
            raise TokensNotKnown("this node has just started; try again in some seconds")
        self._remember(client.name, jti, ends_ms + SKEW_MS, now_ms)

    def _remember(self, name: str, jti: str, until_ms: int, now_ms: int) -> None:
        seen = self._seen.setdefault(name, {})
        for old in [each for each, until in seen.items() if until <= now_ms]:
            del seen[old]
        if jti in seen:
            raise TokenReplayed
        if len(seen) >= MAX_REMEMBERED:
            raise TokensBusy(name)
        seen[jti] = until_ms

    def forget_clients(self, there_are: frozenset[str]) -> None:
        """Let go of clients that are gone and whose assertions have ended."""
        for name in set(self._seen) - there_are:
            if all(until <= self._latest_ms for until in self._seen[name].values()):
                del self._seen[name]

    def __len__(self) -> int:
        return sum(map(len, self._seen.values()))
