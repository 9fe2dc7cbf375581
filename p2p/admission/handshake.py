"""The two sides of an introduction as one table-driven machine, without any I/O.

Bytes go in, effects come out, and the effects run in list order: a door puts `Admit` in front of
`Send(welcome)`, so that the newcomer is never told that it is in before it is.

    dialer                           door                             joiner
    OPENING                          LISTENING                        OPENING
      hello ----------------------->   | <------------------- join hello
    AWAITING_PAPERS                  (same network?)                  AWAITING_ISSUER
      | <---------------- door hello   | door hello -------------------> |
      verify the papers              AWAITING_INTRODUCTION            verify the papers
      introduction, signed -------->   or AWAITING_REQUEST <---- join request, by the ticket
    AWAITING_WELCOME                   verify, Admit | Redeem         AWAITING_GRANT
      | <----------- welcome, signed   |             | join grant -----> |
    DONE (Admit)                     DONE          DONE               DONE (Joined)

A dialer whose certificate was taken back is told by which signed list, behind the refusal:

    AWAITING_WELCOME                 AWAITING_INTRODUCTION
      | <---- refused, parts of a list  | revoked, and it is who it says
    AWAITING_LIST -> REFUSED (Told)  REFUSED

This file has the table, the framing and the refusing; what each side checks and answers is in
`dialer`, `door_side` and `joiner`.

What this module does not know: sockets, time (it arrives with the bytes), where nonces come from.

Invariants: an illegal or broken message never raises: it ends the conversation with a counted
`Refusal`; after `Close` nothing more comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from keys import JoinedNetwork
from p2p.admission.checks import Transcript
from p2p.admission.frames import FrameReader, frame_of
from p2p.admission.messages import (
    MAX_PARTS,
    NONCE_BYTES,
    Hint,
    Kind,
    Message,
    Refusing,
    decode,
    encode,
    kind_of,
)
from p2p.admission.refusals import LOCAL_CODES, Objection, Refusal, RefusalCode
from p2p.admission.sessions import Session


class State(Enum):
    OPENING = auto()
    LISTENING = auto()
    AWAITING_PAPERS = auto()
    AWAITING_WELCOME = auto()
    AWAITING_INTRODUCTION = auto()
    AWAITING_REQUEST = auto()
    REDEEMING = auto()
    AWAITING_ISSUER = auto()
    AWAITING_GRANT = auto()
    AWAITING_LIST = auto()
    DONE = auto()
    REFUSED = auto()


FINAL = frozenset({State.DONE, State.REFUSED})

# What may happen in which state, said by either side, and what comes of it. Anything else that
# arrives is a refusal; anything else that we do is an assertion.
TRANSITIONS: dict[tuple[State, Kind], State] = {
    # dialer
    (State.OPENING, Kind.HELLO): State.AWAITING_PAPERS,
    (State.AWAITING_PAPERS, Kind.DOOR_HELLO): State.AWAITING_WELCOME,
    (State.AWAITING_PAPERS, Kind.REFUSED): State.REFUSED,
    (State.AWAITING_WELCOME, Kind.WELCOME): State.DONE,
    (State.AWAITING_WELCOME, Kind.REFUSED): State.REFUSED,
    (State.AWAITING_LIST, Kind.LIST_PART): State.AWAITING_LIST,
    # door
    (State.LISTENING, Kind.HELLO): State.AWAITING_INTRODUCTION,
    (State.LISTENING, Kind.JOIN_HELLO): State.AWAITING_REQUEST,
    (State.AWAITING_INTRODUCTION, Kind.INTRODUCTION): State.DONE,
    (State.AWAITING_INTRODUCTION, Kind.REFUSED): State.REFUSED,
    (State.AWAITING_REQUEST, Kind.JOIN_REQUEST): State.REDEEMING,
    (State.AWAITING_REQUEST, Kind.REFUSED): State.REFUSED,
    (State.REDEEMING, Kind.JOIN_GRANT): State.DONE,
    (State.REDEEMING, Kind.REFUSED): State.REFUSED,
    # joiner
    (State.OPENING, Kind.JOIN_HELLO): State.AWAITING_ISSUER,
    (State.AWAITING_ISSUER, Kind.DOOR_HELLO): State.AWAITING_GRANT,
    (State.AWAITING_ISSUER, Kind.REFUSED): State.REFUSED,
    (State.AWAITING_GRANT, Kind.JOIN_GRANT): State.DONE,
    (State.AWAITING_GRANT, Kind.REFUSED): State.REFUSED,
}
# What is ours to say only: it never arrives in these states.
_OURS = frozenset(
    {
        (State.OPENING, Kind.HELLO),
        (State.OPENING, Kind.JOIN_HELLO),
        (State.REDEEMING, Kind.JOIN_GRANT),
    }
)
# What is also said to someone of whom no message was understood yet.
_FOR_ANYONE = frozenset({RefusalCode.VERSION, RefusalCode.BUSY, RefusalCode.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes, whole frames."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """The door's papers are a member's. Its key may be let in already, so that nothing of what it
    sends after its welcome is turned away; do not speak to it before `Admit`."""

    session: Session


@dataclass(frozen=True, slots=True)
class Admit:
    """The other side has proved who it is: take the session in, before the next effect."""

    session: Session


@dataclass(frozen=True, slots=True)
class Learn:
    """Where other doors may be."""

    hints: tuple[Hint, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A revocation list, as it travels: not believed until `keys` has verified it."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class Redeem:
    """Ask the issuer, then call `granted` or `declined`."""

    request: bytes
    transcript: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    network: JoinedNetwork


@dataclass(frozen=True, slots=True)
class Close:
    """The conversation is over; None means that it ended well."""

    refusal: Refusal | None


Effect = Send | Verified | Admit | Learn | Told | Redeem | Joined | Close


class Handshake:
    """What the three sides share. Feed it with `receive`; `closed` when the stream ended."""

    def __init__(self, state: State, nonce: bytes, *, is_door: bool) -> None:
        assert len(nonce) == NONCE_BYTES, "a nonce is random and fresh"
        self._state = state
        self._nonce = nonce
        self._is_door = is_door
        self._reader = FrameReader()
        self._transcript = Transcript()
        self._refusal: Refusal | None = None
        self._heard = 0  # well-formed messages

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_over(self) -> bool:
        return self._state in FINAL

    @property
    def refusal(self) -> Refusal | None:
        return self._refusal

    def receive(self, data: bytes, now_ms: int) -> list[Effect]:
        """Take bytes from the stream, however they were split."""
        effects: list[Effect] = []
        if self.is_over:
            return effects
        try:
            self._reader.feed(data)
            while not self.is_over and (body := self._reader.next_body()) is not None:
                effects += self._on_body(body, now_ms)
        except Objection as objection:
            effects += self._refuse(objection.refusal)
        self.check_invariants()
        return effects

    def closed(self) -> list[Effect]:
        """The other side ended the stream."""
        return self.abandon(RefusalCode.DISCONNECTED, "the other side closed the connection")

    def abandon(self, code: RefusalCode, text: str) -> list[Effect]:
        """Give up for a reason of this side: a deadline, a shutdown."""
        return [] if self.is_over else self._refuse(Refusal(code, text))

    def check_invariants(self) -> None:
        has_reason = self._state in (State.REFUSED, State.AWAITING_LIST)
        assert has_reason == (self._refusal is not None), "a reason each"
        assert self._heard <= 3 + MAX_PARTS, "no conversation has more"

    def _on_body(self, body: bytes, now_ms: int) -> list[Effect]:
        message = decode(body)
        kind = kind_of(message)
        move = (self._state, kind)
        if move not in TRANSITIONS or move in _OURS:
            where = self._state.name.lower()
            raise Objection(RefusalCode.UNEXPECTED, f"{kind.name.lower()} while {where}")
        self._heard += 1
        if isinstance(message, Refusing):
            return self._refused_by_them(message)
        effects = self._on_message(message, body, now_ms)
        # A handler that had an objection has raised, and the state is as it was.
        if not self.is_over:
            self._state = TRANSITIONS[move]
        return effects

    def _on_message(self, message: Message, body: bytes, now_ms: int) -> list[Effect]:
        """What this side makes of a message that the table allows; raises Objection."""
        raise NotImplementedError

    def _say(self, message: Message) -> Send:
        """Say something of ours, into the transcript too."""
        body = encode(message)
        self._transcript.add(body, from_door=self._is_door)
        return Send(frame_of(body))

    def _hear(self, body: bytes) -> None:
        self._transcript.add(body, from_door=not self._is_door)

    def _move(self, kind: Kind) -> None:
        """Take a step of our own."""
        move = (self._state, kind)
        assert move in _OURS, f"{kind.name} while {self._state.name}"
        self._state = TRANSITIONS[move]

    def _refused_by_them(self, message: Refusing) -> list[Effect]:
        self._state = State.REFUSED
        self._refusal = Refusal(message.code, message.text, theirs=True)
        learned: list[Effect] = [Learn(message.hints)] if message.hints else []
        return [*learned, Close(self._refusal)]

    def _refuse(self, refusal: Refusal, hints: tuple[Hint, ...] = ()) -> list[Effect]:
        told = self._would_understand(refusal)
        self._state = State.REFUSED
        self._refusal = refusal
        if not told:
            return [Close(refusal)]
        notice = Refusing(refusal.code, refusal.text, hints)
        return [Send(frame_of(encode(notice))), Close(refusal)]

    def _would_understand(self, refusal: Refusal) -> bool:
        """Whether there is someone to tell. Bytes that never were our protocol get no answer."""
        if refusal.code in LOCAL_CODES:
            return False
        stranger = self._is_door and self._heard == 0
        return not stranger or refusal.code in _FOR_ANYONE
