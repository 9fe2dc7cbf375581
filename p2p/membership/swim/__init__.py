"""Membership: bounded neighbours, signed accusations. A pure core, see DESIGN.md."""

from p2p.membership.swim.core import Swim
from p2p.membership.swim.events import (
    Changed,
    Conflict,
    Drop,
    DropReason,
    Expelled,
    Ignored,
    Leave,
    LinkLost,
    Met,
    Neighbours,
    Numbered,
    Received,
    Renewed,
    Send,
    SwimEffect,
    SwimEvent,
    Tick,
    Unknown,
    Why,
)
from p2p.membership.swim.messages import Beat, Message, decode_message, encode_message
from p2p.membership.swim.statements import START_NUMBERS, Say, Statement, start_of
from p2p.membership.swim_settings import SwimSettings

__all__ = [
    "START_NUMBERS",
    "Beat",
    "Changed",
    "Conflict",
    "Drop",
    "DropReason",
    "Expelled",
    "Ignored",
    "Leave",
    "LinkLost",
    "Message",
    "Met",
    "Neighbours",
    "Numbered",
    "Received",
    "Renewed",
    "Say",
    "Send",
    "Statement",
    "Swim",
    "SwimEffect",
    "SwimEvent",
    "SwimSettings",
    "Tick",
    "Unknown",
    "Why",
    "decode_message",
    "encode_message",
    "start_of",
]
