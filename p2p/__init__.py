"""How messages travel between the members of a network: discovery, admission, requests, topics.

What this package does not know: agents, tasks, consensus.
"""

from p2p.admission import JoinFailed, Session, WrongNetwork, join
from p2p.alarm import Alarm
from p2p.clock import Clock, SystemClock
from p2p.discovery import (
    DEFAULT_DOOR_PORT,
    Address,
    BadSeed,
    CandidateReport,
    NoMulticast,
    UnknownInterface,
    hosts_to_tell,
    multicast_problem,
    parse_seed,
    survey_interfaces,
    usable_interfaces,
)
from p2p.errors import (
    BadRequest,
    Cancelled,
    ConnectionLost,
    DeadlineExceeded,
    HandlerFailed,
    IntroductionFailed,
    MisuseError,
    NoSuchMethod,
    NotRunning,
    Overloaded,
    P2PError,
    PayloadTooLarge,
    PeerUnreachable,
    PermissionDenied,
    PortInUse,
    QueueFull,
    RemoteError,
    StreamAborted,
    TransportFailed,
    WorldError,
)
from p2p.lan import LanSettings, LanWorld
from p2p.links import Lane
from p2p.membership import MembershipSettings, MemberState
from p2p.peer import Papers, Peer
from p2p.presence import AdvertSeen, HeartbeatSeen, LinkBroken, MemberChange, PresenceEvent
from p2p.rpc import Incoming
from p2p.streams import Stream, StreamHandler
from p2p.topics import Publication, Subscription
from p2p.transport import zmq_version
from p2p.wire import (
    PayloadError,
    TraceContext,
    current_trace,
    decode_payload,
    encode_payload,
    use_trace,
)
from p2p.world import World

__all__ = [
    "DEFAULT_DOOR_PORT",
    "Address",
    "AdvertSeen",
    "Alarm",
    "BadRequest",
    "BadSeed",
    "Cancelled",
    "CandidateReport",
    "Clock",
    "ConnectionLost",
    "DeadlineExceeded",
    "HandlerFailed",
    "HeartbeatSeen",
    "Incoming",
    "IntroductionFailed",
    "JoinFailed",
    "LanSettings",
    "LanWorld",
    "Lane",
    "LinkBroken",
    "MemberChange",
    "MemberState",
    "MembershipSettings",
    "MisuseError",
    "NoMulticast",
    "NoSuchMethod",
    "NotRunning",
    "Overloaded",
    "P2PError",
    "Papers",
    "PayloadError",
    "PayloadTooLarge",
    "Peer",
    "PeerUnreachable",
    "PermissionDenied",
    "PortInUse",
    "PresenceEvent",
    "Publication",
    "QueueFull",
    "RemoteError",
    "Session",
    "Stream",
    "StreamAborted",
    "StreamHandler",
    "Subscription",
    "SystemClock",
    "TraceContext",
    "TransportFailed",
    "UnknownInterface",
    "World",
    "WorldError",
    "WrongNetwork",
    "current_trace",
    "decode_payload",
    "encode_payload",
    "hosts_to_tell",
    "join",
    "multicast_problem",
    "parse_seed",
    "survey_interfaces",
    "usable_interfaces",
    "use_trace",
    "zmq_version",
]
