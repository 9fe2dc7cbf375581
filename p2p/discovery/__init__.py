"""Finding peers: mDNS, seeds, gossip and the last good peers feed one table of candidates.

Discovery says where somebody may be. Who it is, only the door's handshake can say.
"""

from p2p.discovery.addresses import Address, usable_address
from p2p.discovery.candidate import CandidateSettings
from p2p.discovery.candidates import CandidateTable
from p2p.discovery.errors import BadSeed, NoMulticast, NoServiceNames, UnknownInterface
from p2p.discovery.events import (
    Banned,
    CandidateEffect,
    CandidateEvent,
    CandidateReport,
    Dial,
    DialFailed,
    Drop,
    DropReason,
    Found,
    Introduced,
    Lost,
    NetworkChanged,
    NotNow,
    PeerGone,
    Source,
    Tick,
    Told,
)
from p2p.discovery.interfaces import (
    Excluded,
    Interface,
    Survey,
    hosts_to_tell,
    survey_interfaces,
    usable_interfaces,
)
from p2p.discovery.lastgood import GoodPeer, LastGoodPeers
from p2p.discovery.multicast import multicast_problem
from p2p.discovery.names import NamedSeeds, resolve_name
from p2p.discovery.netlink import MachineChanges
from p2p.discovery.netwatch import LOOK_EVERY_S, Moved, NetworkWatch, Place, Woken
from p2p.discovery.seeds import DEFAULT_DOOR_PORT, Seed, parse_seed, parse_seeds
from p2p.discovery.services import check_services, is_service, resolve_service

__all__ = [
    "DEFAULT_DOOR_PORT",
    "LOOK_EVERY_S",
    "Address",
    "BadSeed",
    "Banned",
    "CandidateEffect",
    "CandidateEvent",
    "CandidateReport",
    "CandidateSettings",
    "CandidateTable",
    "Dial",
    "DialFailed",
    "Drop",
    "DropReason",
    "Excluded",
    "Found",
    "GoodPeer",
    "Interface",
    "Introduced",
    "LastGoodPeers",
    "Lost",
    "MachineChanges",
    "Moved",
    "NamedSeeds",
    "NetworkChanged",
    "NetworkWatch",
    "NoMulticast",
    "NoServiceNames",
    "NotNow",
    "PeerGone",
    "Place",
    "Seed",
    "Source",
    "Survey",
    "Tick",
    "Told",
    "UnknownInterface",
    "Woken",
    "check_services",
    "hosts_to_tell",
    "is_service",
    "multicast_problem",
    "parse_seed",
    "parse_seeds",
    "resolve_name",
    "resolve_service",
    "survey_interfaces",
    "usable_address",
    "usable_interfaces",
]
