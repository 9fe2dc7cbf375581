"""The door's side: answers whoever knocks, member or newcomer.

Order is the point here. The network id is compared before any paper is shown or read; the dialer
is verified and admitted before it is welcomed; a ticket's use is durable before the grant exists.

Who was revoked, and signs the conversation all the same, is told by which list: it was away, has
not heard it, and would go on by itself. Others, and those told just now, hear no more than no.

What this module does not know: sockets, deadlines, rates, tickets (the issuer does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from keys import ListInForce, PeerId, TransportKey, pack_list, verify_signature
from p2p.admission.checks import (
    DIALER_DOMAIN,
    DOOR_DOMAIN,
    Revoked,
    held_by,
    same_network,
    session_of,
    signed_by,
    tag_for,
)
from p2p.admission.credentials import Credentials
from p2p.admission.frames import frame_of
from p2p.admission.handshake import Admit, Close, Effect, Handshake, Redeem, Send, State
from p2p.admission.messages import (
    DoorHello,
    Hello,
    Hint,
    Introduction,
    JoinGrant,
    JoinHello,
    JoinRequest,
    Kind,
    Message,
    Welcome,
    encode,
    fitting,
    hint_fields,
    pack,
    parts_of,
)
from p2p.admission.refusals import Objection, Refusal, RefusalCode
from p2p.admission.sessions import SessionTable

# A stranger with a ticket may be sent on to this many doors; a member is told of more.
MAX_HINTS_FOR_STRANGERS = 8

HintSource = Callable[[PeerId | None], Sequence[Hint]]
MayTell = Callable[[PeerId], bool]


class DoorHandshake(Handshake):
    """One knock.

    Args:
        hints: is asked for whom the answer is: a member, or None for a stranger.
        may_tell: whether one that was revoked may be shown the list that says so, now.
    """

    def __init__(
        self,
        credentials: Credentials,
        sessions: SessionTable,
        nonce: bytes,
        *,
        hints: HintSource,
        may_tell: MayTell = lambda peer_id: True,
        issues: bool = False,
        observed_host: str | None = None,
    ) -> None:
        super().__init__(State.LISTENING, nonce, is_door=True)
        self._credentials = credentials
        self._sessions = sessions
        self._hints = hints
        self._may_tell = may_tell
        self._listed: ListInForce | None = None  # by which the dialer is revoked
        self._issues = issues
        self._observed_host = observed_host
        self._key: TransportKey | None = None  # of the record that we have shown
        self._record = 0  # its number

    def granted(self, grant: bytes) -> list[Effect]:
        """The issuer redeemed the ticket. Nothing comes out when the joiner is gone meanwhile."""
        if self.is_over:
            return []
        self._move(Kind.JOIN_GRANT)
        return [self._say(JoinGrant(grant)), Close(None)]

    def declined(self, code: RefusalCode, text: str) -> list[Effect]:
        """The issuer said no."""
        return [] if self.is_over else self._refuse(Refusal(code, text))

    def turn_away(self, code: RefusalCode, text: str) -> list[Effect]:
        """Refuse before anything was heard: too many, or too often."""
        return self.declined(code, text)

    def _on_message(self, message: Message, body: bytes, now_ms: int) -> list[Effect]:
        match message:
            case Hello() | JoinHello():
                return self._on_hello(message, body)
            case Introduction():
                return self._on_introduction(message, body, now_ms)
            case JoinRequest():
                return [Redeem(message.request, self._transcript.digest())]
            case _:
                raise AssertionError("the table allows no other")

    def _on_hello(self, message: Hello | JoinHello, body: bytes) -> list[Effect]:
        same_network(message.network_id, self._credentials.trust.network_id)
        if isinstance(message, JoinHello) and not self._issues:
            raise Objection(RefusalCode.NOT_ISSUER, "this node holds no issuer key; ask another")
        self._hear(body)
        self._key = self._credentials.transport_keys()[0]
        record = self._credentials.record()
        self._record = record.sequence
        papers = DoorHello(
            self._credentials.trust.network_id,
            self._nonce,
            record.raw,
            self._credentials.chain.encode(),
        )
        return [self._say(papers)]

    def _on_introduction(self, message: Introduction, body: bytes, now_ms: int) -> list[Effect]:
        digest = self._transcript.digest_with(message.record, message.chain)
        try:
            session = session_of(
                message.chain,
                message.record,
                self._credentials,
                self._sessions,
                now_ms,
                observed_host=self._observed_host,
                dialled=False,
            )
        except Revoked as objection:
            leaf = objection.chain.leaf
            if verify_signature(leaf.public_key, DIALER_DOMAIN, digest, message.proof):
                self._listed = objection.listed if self._may_tell(leaf.peer_id) else None
            raise
        signed_by(session, DIALER_DOMAIN, digest, message.proof)
        assert self._key is not None, "our papers come first"
        held_by(session, self._key, DIALER_DOMAIN, digest, message.possession)
        self._hear(body)
        hints = fitting(self._hints(session.peer_id))
        digest = self._transcript.digest_with(pack(hint_fields(hints)))
        proof = self._credentials.identity.sign(DOOR_DOMAIN, digest)
        tag = tag_for(session.curve_public, self._key, DOOR_DOMAIN, digest)
        welcome = Send(frame_of(encode(Welcome(hints, proof, tag))))
        session = replace(session, knows_key=self._key.public, knows_record=self._record)
        return [Admit(session), welcome, Close(None)]

    def _refuse(self, refusal: Refusal, hints: tuple[Hint, ...] = ()) -> list[Effect]:
        if refusal.code is RefusalCode.NOT_ISSUER:
            hints = fitting(self._hints(None)[:MAX_HINTS_FOR_STRANGERS])
        refused = super()._refuse(refusal, hints)
        if self._listed is None:
            return refused
        parts = [Send(frame_of(encode(part))) for part in parts_of(pack_list(self._listed))]
        return [*refused[:-1], *parts, refused[-1]]
