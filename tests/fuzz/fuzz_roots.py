"""Harnesses for roots of several keys, their successors, and the papers that they sign."""

from __future__ import annotations

from fuzz_keys import NOW_MS, P
from fuzz_lab import Harness

from keys import (
    Authority,
    CertificateRefused,
    Chain,
    Identity,
    InvalidValue,
    KeysError,
    Role,
    RootQuorum,
    custodian_text,
    parse_custodian,
    verify,
)
from keys.canonical import NotCanonical
from keys.ceremonies import IssuerRequest, Paper
from keys.certificate import Rotation
from keys.issuing import make_issuer, make_peer
from keys.issuing.making import make_successor
from keys.rootquorum import Custodians
from keys.rotation import decode_line, encode_line

_KEYS = tuple(Identity.from_secret(bytes([n]) * 32) for n in (11, 12, 13))
_QUORUM = RootQuorum.make(2, [each.public_key for each in _KEYS], nonce=bytes(16))
_NEW = Custodians(Authority.of(_QUORUM), _KEYS)
_TOP = make_successor(
    P.root, P.chain.root, _NEW, _NEW.authority, NOW_MS + 1, NOW_MS, serial=b"4" * 16
)
_LINE = (_TOP, P.chain.root)
_MIDDLE = make_issuer(_NEW, _TOP, P.issuer.public_key, "issuer", NOW_MS, serial=b"5" * 16)
_LEAF = make_peer(
    P.issuer, _MIDDLE, P.peer.public_key, "alpha", Role.SERVICE, NOW_MS, serial=b"6" * 16
)
_CHAIN = Chain((_LEAF, _MIDDLE, *_LINE))
_REQUEST = IssuerRequest.make(
    P.issuer, P.genesis.network_id, "issuer", Role.SERVICE, ["shop"], 30, NOW_MS
)
_ASKED = Paper.issuing(_REQUEST, _LINE)
_PAPERS = [
    Paper.of_roots(_LINE),
    _ASKED,
    _ASKED.drafted(NOW_MS).sign(_KEYS[0]).sign(_KEYS[2]),
    Paper.rotation(_LINE, Authority(bytes(32)), 1000, NOW_MS).sign(_KEYS[1]),
    Paper.founding(_QUORUM, "lan", "alpha", P.issuer.public_key, 3, NOW_MS).sign(_KEYS[0]),
]


def _use(paper: Paper) -> None:
    """What is read of a paper before anybody signs it."""
    assert paper.describe()
    assert paper.missing is None or paper.missing
    assert Paper.parse(str(paper)) == paper


HARNESSES = (
    Harness(
        "root-quorum",
        RootQuorum.decode,
        [_QUORUM.encode()],
        (NotCanonical,),
        ("keys.rootquorum:RootQuorum.decode",),
    ),
    Harness(
        "rotation",
        Rotation.decode,
        [Rotation(1, NOW_MS).encode()],
        (NotCanonical,),
        ("keys.certificate:Rotation.decode",),
    ),
    Harness(
        "roots",
        decode_line,
        [encode_line(_LINE)],
        (CertificateRefused,),
        ("keys.rotation:decode_line",),
    ),
    Harness(
        "chain-of-successor",
        lambda data: verify(Chain.decode(data), P.trust, NOW_MS),
        [_CHAIN.encode()],
        (CertificateRefused,),
    ),
    Harness(
        "custodian",
        lambda data: parse_custodian(data.decode("utf-8", "replace")),
        [custodian_text(_KEYS[0].public_key).encode()],
        (InvalidValue,),
        ("keys.rootquorum:parse_custodian",),
        is_text=True,
    ),
    Harness(
        "issuer-request",
        IssuerRequest.decode,
        [_REQUEST.raw],
        (KeysError,),
        ("keys.ceremonies.request:IssuerRequest.decode",),
    ),
    Harness(
        "paper",
        lambda data: _use(Paper.decode(data)),
        [each.encode() for each in _PAPERS],
        (KeysError,),
        ("keys.ceremonies.paper:Paper.decode",),
    ),
    Harness(
        "paper-text",
        lambda data: _use(Paper.parse(data.decode("utf-8", "replace"))),
        [str(each).encode() for each in _PAPERS],
        (KeysError,),
        ("keys.ceremonies.paper:Paper.parse",),
        is_text=True,
    ),
)
