"""Streams between callers and handlers: served, opened, and as a program holds them."""

from agents.streaming.opening import Opened, Opening
from agents.streaming.operations import stream_operations
from agents.streaming.programs import Streaming
from agents.streaming.serving import StreamServing

__all__ = ["Opened", "Opening", "StreamServing", "Streaming", "stream_operations"]
