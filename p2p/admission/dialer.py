"""The dialer's side: a member knocks at another member's door.

It asks with nothing but the network id, checks the door's papers, shows its own with a signature
over the conversation, and takes the door in when the door has signed the conversation too.

A door that refuses our certificate may go on with the revocation list that says why, since a node
that was away cannot know. Nothing follows from it here; it is signed, or it is nothing.

What this module does not know: sockets, deadlines, who else was dialled, what a list means.
"""

from __future__ import annotations

from dataclasses import replace

from keys import PeerId, TransportKey
from p2p.admission.checks import (
    DIALER_DOMAIN,
    DOOR_DOMAIN,
    held_by,
    no_objection,
    same_network,
    session_of,
    signed_by,
    tag_for,
)
from p2p.admission.credentials import Credentials
from p2p.admission.handshake import (
    Admit,
    Close,
    Effect,
    Handshake,
    Learn,
    State,
    Told,
    Verified,
)
from p2p.admission.messages import (
    MAX_PARTS,
    DoorHello,
    Hello,
    Hint,
    Introduction,
    Kind,
    ListPart,
    Message,
    Refusing,
    Welcome,
    hint_fields,
    pack,
)
from p2p.admission.refusals import Objection, Refusal, RefusalCode
from p2p.admission.sessions import Session, SessionTable


class DialerHandshake(Handshake):
    """Call `start` for the first bytes to send."""

    def __init__(
        self,
        credentials: Credentials,
        sessions: SessionTable,
        nonce: bytes,
        *,
        dialled_host: str | None = None,
        expected: PeerId | None = None,
    ) -> None:
        super().__init__(State.OPENING, nonce, is_door=False)
        self._credentials = credentials
        self._sessions = sessions
        self._dialled_host = dialled_host
        self._expected = expected
        self._session: Session | None = None
        self._key: TransportKey | None = None  # of the record that we have shown
        self._record = 0  # its number
        self._parts: list[bytes] = []  # of the list behind a refusal

    def start(self) -> list[Effect]:
        self._move(Kind.HELLO)
        return [self._say(Hello(self._credentials.trust.network_id, self._nonce))]

    def _on_message(self, message: Message, body: bytes, now_ms: int) -> list[Effect]:
        if isinstance(message, DoorHello):
            return self._on_door_hello(message, body, now_ms)
        if isinstance(message, ListPart):
            return self._on_list_part(message)
        assert isinstance(message, Welcome), "the table allows no other"
        return self._on_welcome(message)

    def _on_door_hello(self, message: DoorHello, body: bytes, now_ms: int) -> list[Effect]:
        same_network(message.network_id, self._credentials.trust.network_id)
        self._session = session_of(
            message.chain,
            message.record,
            self._credentials,
            self._sessions,
            now_ms,
            observed_host=self._dialled_host,
            dialled=True,
            expected=self._expected,
        )
        self._hear(body)
        introduction = self._introduction(self._session)
        return [Verified(self._session), self._say(introduction)]

    def _refused_by_them(self, message: Refusing) -> list[Effect]:
        effects = super()._refused_by_them(message)
        if self._key is None or message.code is not RefusalCode.CERTIFICATE:
            return effects
        # It has seen our papers, and may go on to say what is wrong with them.
        self._state = State.AWAITING_LIST
        self._reader.allow(MAX_PARTS)
        return [each for each in effects if not isinstance(each, Close)]

    def _on_list_part(self, message: ListPart) -> list[Effect]:
        if message.number != len(self._parts):
            raise Objection(RefusalCode.UNEXPECTED, f"part {message.number} of a list")
        self._parts.append(message.data)
        if len(self._parts) < message.count:
            return []
        return [Told(b"".join(self._parts)), *self._refuse_as_told()]

    def _refuse(self, refusal: Refusal, hints: tuple[Hint, ...] = ()) -> list[Effect]:
        if self._state is State.AWAITING_LIST:
            return self._refuse_as_told()  # what it said first counts, however it goes on
        return super()._refuse(refusal, hints)

    def _refuse_as_told(self) -> list[Effect]:
        self._state = State.REFUSED
        return [Close(self._refusal)]

    def _introduction(self, session: Session) -> Introduction:
        record, self._key = self._credentials.record(), self._credentials.transport_keys()[0]
        self._record = record.sequence
        chain = self._credentials.chain.encode()
        digest = self._transcript.digest_with(record.raw, chain)
        proof = self._credentials.identity.sign(DIALER_DOMAIN, digest)
        tag = tag_for(session.curve_public, self._key, DIALER_DOMAIN, digest)
        return Introduction(record.raw, chain, proof, tag)

    def _on_welcome(self, message: Welcome) -> list[Effect]:
        assert self._session is not None, "papers come before the welcome"
        assert self._key is not None, "and ours too"
        digest = self._transcript.digest_with(pack(hint_fields(message.hints)))
        signed_by(self._session, DOOR_DOMAIN, digest, message.proof)
        held_by(self._session, self._key, DOOR_DOMAIN, digest, message.possession)
        # Another connection may have brought newer papers of this peer in the meantime.
        no_objection(self._session.record, self._sessions)
        session = replace(self._session, knows_key=self._key.public, knows_record=self._record)
        return [Admit(session), Learn(message.hints), Close(None)]
