"""Harnesses for what peers offer and listen to, told by themselves and passed on by others."""

from __future__ import annotations

from fuzz_lab import Harness, as_payload
from fuzz_wire import PEER

from keys import PeerId
from p2p import adverts
from p2p.adverts import relay_messages
from p2p.adverts.staged import Staged
from p2p.pubsub import Interests, decode_interest, encode_interest


def _adverts(data: bytes) -> None:
    adverts.read_since(data)
    tables, peer = adverts.Tables(), PeerId(PEER)
    adverts.read_digest(data)
    tables.heard(peer, 1, data, 0)
    page = adverts.decode_page(data)
    if page is not None:
        assert adverts.decode_page(adverts.encode_page(page)) == page
        tables.take(peer, page)
        tables.check_invariants()


def _interest(data: bytes) -> None:
    interests, peer = Interests(), PeerId(PEER)
    names = decode_interest(data)
    interests.take(peer, names)
    interests.check_invariants()
    assert all(interests.listeners(f"{name}x" if name.endswith("/") else name) for name in names)
    encoded = encode_interest(names)
    assert (decode_interest(encoded) if encoded is not None else frozenset()) == names
    interests.take(peer, frozenset())
    assert not interests


def _relays(data: bytes) -> None:
    tables, headings = adverts.Tables(), adverts.Headings()
    told = relay_messages.pages_from_wire(data)
    for owner, page in told or ():
        staged = Staged(page)
        if page.proof is not None:
            tables.commit(owner, staged, page.proof)
            headings.put(owner, adverts.Heading(page.incarnation, page.latest, page.proof[0]))
    if told is not None:
        again = [(owner, adverts.encode_page(page)) for owner, page in told]
        assert relay_messages.pages_from_wire(relay_messages.pages_message(again)) == told
    tables.check_invariants()
    headings.check_invariants()
    wanted = relay_messages.wanted_from_wire(data)
    if wanted is not None:
        again_wanted = relay_messages.wanted_message(wanted)
        assert relay_messages.wanted_from_wire(again_wanted) == wanted
    buckets = relay_messages.buckets_from_wire(data)
    if buckets is not None:
        headings.differing(buckets)
    listed = relay_messages.listing_from_wire(data)
    if listed is not None:
        again_listed = relay_messages.listing_message(listed)
        assert relay_messages.listing_from_wire(again_listed) == listed


HARNESSES = [
    Harness(
        "adverts",
        _adverts,
        [
            as_payload([9, 0, 2, 3, [["reader", b"entry"], ["gone", None]]]),
            as_payload([9, 2]),
            b"\0\0\0\0\0\0\0\7" + b"h" * 16,
        ],
        (),
        tuple(f"p2p.adverts.messages:{x}" for x in ("decode_page", "read_since", "read_digest")),
    ),
    Harness(
        "interest",
        _interest,
        [as_payload(["news", "deep/er/", ""]), as_payload([])],
        (),
        ("p2p.pubsub.interests:decode_interest",),
    ),
    Harness(
        "adverts-relayed",
        _relays,
        [
            as_payload([[bytes(32), as_payload(page)]])
            for page in (
                [9, 0, 2, 2, [["reader", b"entry"], ["gone", None]], bytes(16), bytes(64)],
                [9, 7, 7, 7, [], bytes(16), bytes(64)],
                [9, 0, 0, 0, [], adverts.digest_of({}), bytes(64)],
            )
        ]
        + [
            as_payload([[bytes(32), 9, 7], [bytes(range(32)), 0, 0]]),
            as_payload([[bytes(32), 9, 7, bytes(16)]]),
            as_payload(list(range(64))),
        ],
        (),
        tuple(
            f"p2p.adverts.relay_messages:{x}_from_wire"
            for x in ("pages", "wanted", "buckets", "listing")
        ),
    ),
]
