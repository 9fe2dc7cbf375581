"""Requests, replies and notices between admitted peers."""

from p2p.rpc.dispatch import Dispatcher, Incoming, NoticeHandler, RequestHandler
from p2p.rpc.exchange import Exchange, ExchangeSettings
from p2p.rpc.requests import Pending, RequestTable

__all__ = [
    "Dispatcher",
    "Exchange",
    "ExchangeSettings",
    "Incoming",
    "NoticeHandler",
    "Pending",
    "RequestHandler",
    "RequestTable",
]
