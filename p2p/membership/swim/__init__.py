"""Membership for hundreds: bounded neighbours, signed accusations. A pure core, see DESIGN.md."""

from p2p.membership.swim.core import Swim
from p2p.membership.swim.events import (
    Changed,
    Conflict,
    Drop,
    DropReason,
    Leave,
    LinkLost,
    Met,
    Neighbours,
    Numbered,
    Received,
    Send,
    SwimEffect,
    SwimEvent,
    Tick,
    Why,
)
from p2p.membership.swim.messages import Message, decode_message, encode_message
from p2p.membership.swim.settings import SwimSettings
from p2p.membership.swim.statements import Say, Statement

__all__ = [
    "Changed",
    "Conflict",
    "Drop",
    "DropReason",
    "Leave",
    "LinkLost",
    "Message",
    "Met",
    "Neighbours",
    "Numbered",
    "Received",
    "Say",
    "Send",
    "Statement",
    "Swim",
    "SwimEffect",
    "SwimEvent",
    "SwimSettings",
    "Tick",
    "Why",
    "decode_message",
    "encode_message",
]
