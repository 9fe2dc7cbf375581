"""Harnesses for clusters: what the log has of them, and what is asked of the leader."""

from __future__ import annotations

from fuzz_lab import Harness, as_payload
from fuzz_wire import PEER, of_value

from agents.clusters import wire
from agents.clusters.model import (
    Lead,
    Need,
    Roster,
    check_roster,
    decode_lead,
    decode_need,
    decode_roster,
    encode_lead,
    encode_need,
    encode_roster,
)
from agents.kept_by_log import read_answer
from keys import PeerId
from p2p import PayloadError

_NEED = Need("vision:image.read", 1, 3)
_ROSTER = Roster(*_NEED, (PeerId(PEER), PeerId("b" * 52)), 1_700_000_000_000, 7, "formed of a, b")
_WISH = wire.Wish("vision:eyes", _NEED, "0123456789abcdef", 15_000)


def _roster(data: bytes) -> None:
    roster = decode_roster(data)
    if roster is not None:
        check_roster(roster)
        assert decode_roster(encode_roster(roster)) == roster


def _need(data: bytes) -> None:
    need = decode_need(data)
    assert need is None or decode_need(encode_need(need)) == need


def _lead(data: bytes) -> None:
    lead = decode_lead(data)
    assert lead is None or decode_lead(encode_lead(lead)) == lead


def _wish(data: bytes) -> None:
    wish = wire.read_wish(data)
    assert isinstance(wish, str) or wish.problem() is None


HARNESSES = [
    Harness(
        "cluster-roster",
        _roster,
        [encode_roster(_ROSTER)],
        (),
        ("agents.clusters.model:decode_roster",),
    ),
    Harness(
        "cluster-need", _need, [encode_need(_NEED)], (), ("agents.clusters.model:decode_need",)
    ),
    Harness(
        "cluster-lead",
        _lead,
        [encode_lead(Lead(PeerId(PEER), 88)), encode_lead(Lead(None, 3))],
        (),
        ("agents.clusters.model:decode_lead",),
    ),
    Harness(
        "cluster-wish", _wish, [as_payload(_WISH.row())], (), ("agents.clusters.wire:read_wish",)
    ),
    Harness(
        "cluster-held",
        of_value(wire.read_held),
        [
            as_payload(said)
            for said in ([None, 7], ["no", 0], [[["ada"], [["bob", "it is silent"]]], 0])
        ],
        (PayloadError,),
        ("agents.clusters.wire:read_held",),
    ),
    Harness(
        "cluster-candidates",
        of_value(wire.read_candidates),
        [as_payload([[PEER, "ada", "well", "", 500, True]])],
        (PayloadError,),
        ("agents.clusters.wire:read_candidates",),
    ),
    Harness(
        "kept-answer",
        of_value(read_answer),
        [as_payload([None, 7]), as_payload(["no", 0])],
        (PayloadError,),
        ("agents.kept_by_log:read_answer",),
    ),
]
