"""Streams: chunks in both directions, at the pace of their readers, over broken connections."""

from p2p.streams.core import StreamSettings
from p2p.streams.files import ReceivedFile, receive_file, send_file
from p2p.streams.serving import StreamHandler
from p2p.streams.stream import Stream
from p2p.streams.streams import Streams

__all__ = [
    "ReceivedFile",
    "Stream",
    "StreamHandler",
    "StreamSettings",
    "Streams",
    "receive_file",
    "send_file",
]
