"""How a stranger becomes an admitted peer: the introduction door, and joining with a ticket."""

from p2p.admission.credentials import Credentials
from p2p.admission.dialer import DialerHandshake
from p2p.admission.door import Door, DoorSettings
from p2p.admission.door_side import DoorHandshake
from p2p.admission.errors import JoinFailed, WrongNetwork, failure_of
from p2p.admission.handshake import (
    Admit,
    Close,
    Effect,
    Handshake,
    Joined,
    Learn,
    Redeem,
    Send,
    Told,
    Verified,
)
from p2p.admission.introduce import introduce
from p2p.admission.joiner import JoinerHandshake
from p2p.admission.joining import join
from p2p.admission.limits import RateLimit, source_of
from p2p.admission.messages import Hint
from p2p.admission.refusals import Refusal, RefusalCode
from p2p.admission.sessions import (
    SEQUENCES_PER_START,
    Admission,
    Admitted,
    Session,
    SessionTable,
)
from p2p.admission.shown import ShownChain

__all__ = [
    "SEQUENCES_PER_START",
    "Admission",
    "Admit",
    "Admitted",
    "Close",
    "Credentials",
    "DialerHandshake",
    "Door",
    "DoorHandshake",
    "DoorSettings",
    "Effect",
    "Handshake",
    "Hint",
    "JoinFailed",
    "Joined",
    "JoinerHandshake",
    "Learn",
    "RateLimit",
    "Redeem",
    "Refusal",
    "RefusalCode",
    "Send",
    "Session",
    "SessionTable",
    "ShownChain",
    "Told",
    "Verified",
    "WrongNetwork",
    "failure_of",
    "introduce",
    "join",
    "source_of",
]
