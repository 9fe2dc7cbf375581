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
    usable_address,
    usable_interfaces,
)
from p2p.errors import (
    BadFileName,
    BadRequest,
    Cancelled,
    ConnectionLost,
    DeadlineExceeded,
    FileDamaged,
    FileNotStored,
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
    RotationFailed,
    StreamAborted,
    TransportFailed,
    WorldError,
)
from p2p.incidents import (
    Incident,
    IntroductionRefused,
    PeerAdmitted,
    PeerExpelled,
    TransportKeyChanged,
)
from p2p.lan import LanSettings, LanWorld
from p2p.links import MAX_BODY_BYTES, Lane
from p2p.machine import Machine
from p2p.membership import Member, MemberState
from p2p.membership.swim_settings import SwimSettings
from p2p.own_papers import Papers
from p2p.peer import Peer
from p2p.presence import AdvertSeen, HeartbeatSeen, LinkBroken, MemberChange, PresenceEvent
from p2p.pubsub import (
    BadTopic,
    NotEnoughSubscribers,
    Policy,
    Publication,
    SubscriberTooSlow,
    Subscription,
)
from p2p.rotation import Rotated
from p2p.rpc import Incoming
from p2p.streams import ReceivedFile, Stream, StreamHandler, receive_file, send_file
from p2p.transport import zmq_version
from p2p.trusting import Strictness
from p2p.wire import (
    PayloadError,
    Priority,
    TraceContext,
    current_trace,
    decode_payload,
    encode_payload,
    use_trace,
)
from p2p.world import World

__all__ = [
    "DEFAULT_DOOR_PORT",
    "MAX_BODY_BYTES",
    "Address",
    "AdvertSeen",
    "Alarm",
    "BadFileName",
    "BadRequest",
    "BadSeed",
    "BadTopic",
    "Cancelled",
    "CandidateReport",
    "Clock",
    "ConnectionLost",
    "DeadlineExceeded",
    "FileDamaged",
    "FileNotStored",
    "HandlerFailed",
    "HeartbeatSeen",
    "Incident",
    "Incoming",
    "IntroductionFailed",
    "IntroductionRefused",
    "JoinFailed",
    "LanSettings",
    "LanWorld",
    "Lane",
    "LinkBroken",
    "Machine",
    "Member",
    "MemberChange",
    "MemberState",
    "MisuseError",
    "NoMulticast",
    "NoSuchMethod",
    "NotEnoughSubscribers",
    "NotRunning",
    "Overloaded",
    "P2PError",
    "Papers",
    "PayloadError",
    "PayloadTooLarge",
    "Peer",
    "PeerAdmitted",
    "PeerExpelled",
    "PeerUnreachable",
    "PermissionDenied",
    "Policy",
    "PortInUse",
    "PresenceEvent",
    "Priority",
    "Publication",
    "QueueFull",
    "ReceivedFile",
    "RemoteError",
    "Rotated",
    "RotationFailed",
    "Session",
    "Stream",
    "StreamAborted",
    "StreamHandler",
    "Strictness",
    "SubscriberTooSlow",
    "Subscription",
    "SwimSettings",
    "SystemClock",
    "TraceContext",
    "TransportFailed",
    "TransportKeyChanged",
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
    "receive_file",
    "send_file",
    "survey_interfaces",
    "usable_address",
    "usable_interfaces",
    "use_trace",
    "zmq_version",
]
