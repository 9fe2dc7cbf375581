"""Why a token is not given or not taken: one class for each reason, with a stable code.

    MisuseError
    |-- TokensUnavailable       the library is not installed
    `-- ScopeInvalid            a scope that means nothing
    Refused
    `-- TokenRefused            a door answers 401 to all of these
        |-- TokenMalformed, TokenBadSignature, TokenWrongAudience, TokenExpired, TokenFromFuture
        |-- TokenLivesTooLong, TokenOfStranger, TokenIssuerMayNot, TokenTooWide
        |-- TokenRevoked, TokenClientUnknown, TokenReplayed
        `-- TokensBusy, TokensNotKnown      now; later perhaps

No text quotes a token or an assertion.
"""

from __future__ import annotations

from keys.errors import MisuseError, Refused


class TokensUnavailable(MisuseError):
    def __init__(self) -> None:
        super().__init__(
            "tokens need a library that is not installed here: pip install 'conclave-mesh[tokens]'"
        )


class ScopeInvalid(MisuseError):
    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; a scope is words such as call:math.* or publish:news/*")
        self.problem = problem


class TokenRefused(Refused):
    """A token or an assertion that is not taken."""

    code = "token"


class TokenMalformed(TokenRefused):
    code = "token-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"it is no token that we know: {problem}")
        self.problem = problem


class TokenBadSignature(TokenRefused):
    code = "token-signature"

    def __init__(self, who: str) -> None:
        super().__init__(f"the token is not signed by {who}, whom it names")
        self.who = who


class TokenWrongAudience(TokenRefused):
    code = "token-audience"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the token is for somebody else: {problem}")
        self.problem = problem


class TokenExpired(TokenRefused):
    code = "token-expired"

    def __init__(self, ago_ms: int) -> None:
        super().__init__(f"the token ended {ago_ms / 1000:,.0f} s ago; ask for a new one")
        self.ago_ms = ago_ms


class TokenFromFuture(TokenRefused):
    code = "token-future"

    def __init__(self, ahead_ms: int) -> None:
        super().__init__(
            f"the token begins {ahead_ms / 1000:,.0f} s from now; set the clock that is wrong"
        )
        self.ahead_ms = ahead_ms


class TokenLivesTooLong(TokenRefused):
    code = "token-life"

    def __init__(self, life_s: int, limit_s: int) -> None:
        super().__init__(f"it is good for {life_s} s, and {limit_s} s are allowed")
        self.life_s = life_s


class TokenOfStranger(TokenRefused):
    code = "token-stranger"

    def __init__(self, who: str, problem: str) -> None:
        super().__init__(f"the token is of {who}: {problem}")
        self.who = who
        self.problem = problem


class TokenIssuerMayNot(TokenRefused):
    code = "token-issuer"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} may not issue tokens: it lacks the permission TOKEN_ISSUE, which the role "
            "manager or admin gives"
        )
        self.name = name


class TokenTooWide(TokenRefused):
    code = "token-wide"

    def __init__(self, problem: str) -> None:
        super().__init__(f"that would be more than may be given: {problem}")
        self.problem = problem


class TokenRevoked(TokenRefused):
    code = "token-revoked"

    def __init__(self) -> None:
        super().__init__("the token was revoked")


class TokenClientUnknown(TokenRefused):
    code = "token-client"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no client {name[:64]!r} with this registration; "
            "`conclave token client list` says which there are"
        )
        self.name = name


class TokenReplayed(TokenRefused):
    code = "token-replayed"

    def __init__(self) -> None:
        super().__init__("this assertion was used before; make a new one, with a jti of its own")


class TokensBusy(TokenRefused):
    code = "token-busy"

    def __init__(self, name: str) -> None:
        super().__init__(f"the client {name[:64]!r} asks for tokens too often; wait a minute")
        self.name = name


class TokensNotKnown(TokenRefused):
    code = "token-not-known"

    def __init__(self, why: str) -> None:
        super().__init__(f"nothing can be said about tokens yet: {why}")
        self.why = why
