"""CURVE sockets: how envelopes travel between machines."""

from p2p.transport.counters import TransportCounters
from p2p.transport.settings import TransportSettings
from p2p.transport.sockets import zmq_version
from p2p.transport.transport import ZmqTransport

__all__ = ["TransportCounters", "TransportSettings", "ZmqTransport", "zmq_version"]
