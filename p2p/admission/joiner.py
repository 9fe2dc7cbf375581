"""The joiner's side: someone with a ticket and no papers asks an issuer for a certificate.

It believes only the root whose fingerprint the ticket holds. Several doors may be asked at once:
the issuer gives one key the same grant however often it asks.

What this module does not know: sockets, the addresses in the ticket, where keys are kept.
"""

from __future__ import annotations

from keys import (
    Identity,
    InvalidName,
    Refused,
    Ticket,
    accept_grant,
    make_join_request,
    name_problem,
)
from p2p.admission.checks import papers, same_network
from p2p.admission.handshake import Close, Effect, Handshake, Joined, State
from p2p.admission.messages import DoorHello, JoinGrant, JoinHello, JoinRequest, Kind, Message
from p2p.admission.refusals import Objection, RefusalCode


class JoinerHandshake(Handshake):
    """Call `start` for the first bytes to send."""

    def __init__(self, ticket: Ticket, identity: Identity, name: str, nonce: bytes) -> None:
        """
        Raises:
            keys.InvalidName: `name` cannot be a node's name.
        """
        super().__init__(State.OPENING, nonce, is_door=False)
        problem = name_problem(name)
        if problem is not None:
            raise InvalidName("node name", name, problem)
        self._ticket = ticket
        self._identity = identity
        self._name = name
        self._asked = False

    @property
    def asked(self) -> bool:
        """Whether the request was shown: from then on the ticket may be used up, by this key."""
        return self._asked

    def start(self) -> list[Effect]:
        self._move(Kind.JOIN_HELLO)
        return [self._say(JoinHello(self._ticket.network_id, self._nonce))]

    def _on_message(self, message: Message, body: bytes, now_ms: int) -> list[Effect]:
        if isinstance(message, DoorHello):
            return self._on_door_hello(message, body, now_ms)
        assert isinstance(message, JoinGrant), "the table allows no other"
        try:
            network = accept_grant(self._ticket, self._identity, message.grant, now_ms)
        except Refused as error:
            raise Objection(RefusalCode.BAD_GRANT, str(error)) from error
        return [Joined(network), Close(None)]

    def _on_door_hello(self, message: DoorHello, body: bytes, now_ms: int) -> list[Effect]:
        same_network(message.network_id, self._ticket.network_id)
        papers(message.chain, message.record, self._ticket.trust, now_ms)
        self._hear(body)
        try:
            request = make_join_request(
                self._ticket, self._identity, self._name, self._transcript.digest(), now_ms
            )
        except Refused as error:
            raise Objection(RefusalCode.TICKET_EXPIRED, str(error)) from error
        self._asked = True
        return [self._say(JoinRequest(request))]
