"""Tokens for callers outside: given for an assertion, verified where they are shown.

    exchange(assertion) -> token      a registered client proves who it is, and gets some minutes
    verify(token)       -> Caller     any member can say who bears a token, and judge what it asks

Doors call these two; what a caller asks for is then judged by `Caller.refusal` with the node's
guard. A token of a member that has gone is verified for as long as one can live, by the papers that
it showed last; unless these were revoked since.

What this module does not know: HTTP, sockets, what is asked for.

Invariants: no token is given that has more than its issuer, its client or the wish; nothing is
taken before it is known what was revoked.
"""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final

from agents.errors import InvalidArguments
from agents.tokens_keeping import TokenKeeping
from keys import CertificateRefused, Identity, PeerId, Permission, Principal, Role, role_words
from keys.tokens import (
    CLIENT,
    DEFAULT_LIFE_S,
    JTI_BYTES,
    MAX_LIFE_S,
    Assertions,
    Caller,
    Grant,
    Issued,
    Scope,
    TokenRefused,
    TokenTooWide,
    check_library,
    client_named,
    issue_token,
    issuer_named,
    verify_token,
)
from p2p import Clock, Peer

if TYPE_CHECKING:
    from keys import Trust

NETWORK: Final = "network"
REMEMBERED_MS: Final = (MAX_LIFE_S + 120) * 1000
MAX_REMEMBERED: Final = 1024


class TokenService:
    """The tokens of one node.

    Attributes:
        counts: tokens given and taken, and refusals by code.
    """

    def __init__(self, peer: Peer, identity: Identity, clock: Clock, kept: TokenKeeping) -> None:
        self._peer = peer
        self._identity = identity
        self._clock = clock
        self.kept = kept
        self._assertions = Assertions(clock.wall_ms())
        self._gone: dict[PeerId, tuple[Principal, int]] = {}  # with when it was seen last
        self.counts: Counter[str] = Counter()
        kept.on_look = self.look

    # -- giving --------------------------------------------------------------------------------

    def exchange(
        self,
        assertion: str,
        *,
        scope: Scope | None = None,
        audience: str | None = None,
        life_s: int = DEFAULT_LIFE_S,
    ) -> Issued:
        """A token for a client that proves who it is. Renewing is asking again.

        Args:
            scope: less than the client may have, if less is wanted.
            audience: the peer id of the node that it is for, or the network's; default: this node.

        Raises:
            TokenRefused, TokensUnavailable.
            InvalidValue: the life is none.
        """
        try:
            client = self.kept.book.client(client_named(assertion))
            now_ms = self._clock.wall_ms()
            self._assertions.take(assertion, client, self._peer.peer_id, now_ms)
            self._assertions.forget_clients(frozenset(self.kept.book.clients))
            wanted = scope or client.scope
            too_wide = wanted.lacking(client.scope)
            if too_wide is not None:
                raise TokenTooWide(f"the client {client.name} may not have {too_wide[:200]}")
            return self._issue(
                Grant(
                    CLIENT + client.name,
                    audience or self._peer.peer_id,
                    wanted,
                    client.roles & self._peer.principal.roles,
                    client.registration.hex(),
                ),
                life_s,
            )
        except TokenRefused as error:
            self.counts[f"refused {error.code}"] += 1
            raise

    def issue(
        self, scope: Scope, roles: Role | None, audience: str, life_s: int = DEFAULT_LIFE_S
    ) -> Issued:
        """A token of this node's own, for whoever is handed it.

        Args:
            roles: default: service, if this node has it.

        Raises:
            TokenRefused, TokensUnavailable, InvalidValue.
            InvalidArguments: no roles were named, and there is no default.
        """
        own = self._peer.principal
        if roles is None:
            roles = own.roles & Role.SERVICE
            if not roles:
                known = role_words(own.roles)
                raise InvalidArguments("token issue", f"say which roles it has, of {known}")
        return self._issue(Grant(own.peer_id, audience, scope, roles), life_s)

    def _issue(self, grant: Grant, life_s: int) -> Issued:
        made = issue_token(
            self._identity,
            self._peer.principal,
            grant,
            self._clock.wall_ms(),
            secrets.token_bytes(JTI_BYTES),
            life_s,
        )
        self.counts["issued"] += 1
        return made

    def audience_of(self, wanted: str | None) -> str:
        """`network`, nothing for this node, or an id as it is."""
        if wanted == NETWORK:
            return self._peer.principal.network_id
        return wanted or self._peer.peer_id

    # -- taking --------------------------------------------------------------------------------

    def verify(self, token: str) -> Caller:
        """Who bears this token. Ask `Caller.refusal` about each thing that it wants to do.

        Raises:
            TokenRefused: 401. Its text may be shown to the bearer.
            TokensUnavailable.
        """
        own = self._peer.principal
        try:
            check_library()
            caller = verify_token(
                token,
                self._issuer(issuer_named(token)),
                (own.peer_id, own.network_id),
                self._clock.wall_ms(),
            )
            judged = self.kept.book.judge(caller)
        except TokenRefused as error:
            self.counts[f"refused {error.code}"] += 1
            raise
        self.counts["taken"] += 1
        return judged

    def _issuer(self, peer_id: PeerId) -> Principal | None:
        """A member that is here, or was until lately and is not revoked."""
        found = self._peer.principal_of(peer_id)
        if found is not None:
            return found
        principal, seen_ms = self._gone.get(peer_id, (None, 0))
        if principal is None or self._clock.now_ms() - seen_ms > REMEMBERED_MS:
            return None
        trust: Trust = self._peer.trust
        try:
            trust.revocations.check(principal.lineage)
        except CertificateRefused:
            return None
        return principal

    def look(self) -> None:
        """Note who is here and may issue tokens; called every now and then."""
        now_ms = self._clock.now_ms()
        for peer_id in self._peer.presence.present():
            principal = self._peer.principal_of(peer_id)
            if principal is not None and principal.may(Permission.TOKEN_ISSUE):
                self._gone[peer_id] = (principal, now_ms)
        old = [p for p, (_, seen) in self._gone.items() if now_ms - seen > REMEMBERED_MS]
        for peer_id in [*old, *list(self._gone)[: max(0, len(self._gone) - MAX_REMEMBERED)]]:
            self._gone.pop(peer_id, None)
