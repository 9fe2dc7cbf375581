"""What an mDNS advert says, and what is made of one that anybody may have sent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import NetworkId, PeerId
from p2p.discovery import Found, Source
from p2p.discovery.advert import (
    SERVICE_TYPE,
    Ignored,
    instance_name,
    network_tag,
    read_advert,
    text_record,
)

OWN, ANN = PeerId("o" * 52), PeerId("a" * 52)
TAG = network_tag(NetworkId("n" * 52))


def _read(
    instance: str = instance_name(ANN),
    port: int | None = 4747,
    text: Mapping[bytes, bytes | None] = text_record(TAG),
    hosts: tuple[str, ...] = ("10.0.0.1",),
) -> Found | Ignored:
    return read_advert(instance, port, text, hosts, own=OWN, tag=TAG)


def test_a_network_tag_never_changes() -> None:
    """Other versions of this program must compute the same eight digits."""
    assert TAG == "bf3493ed"


def test_an_advert_becomes_a_hint() -> None:
    assert _read() == Found(Source.MDNS, ANN, ("10.0.0.1",), 4747)


def test_names_are_compared_without_case_as_dns_does() -> None:
    assert _read(instance_name(PeerId("A" * 52))) == _read()


def test_an_advert_fits_one_packet_with_room_to_spare() -> None:
    size = sum(len(key) + len(value) + 2 for key, value in text_record(TAG).items())
    assert size < 400


@pytest.mark.parametrize(
    ("wrong", "ignored"),
    [
        ({"instance": instance_name(OWN)}, Ignored.OURSELVES),
        ({"instance": f"printer.{SERVICE_TYPE}"}, Ignored.MALFORMED),
        ({"instance": SERVICE_TYPE}, Ignored.MALFORMED),
        ({"instance": ""}, Ignored.MALFORMED),
        ({"instance": f"{ANN}._other._tcp.local."}, Ignored.MALFORMED),
        ({"text": text_record("00000000")}, Ignored.OTHER_NETWORK),
        ({"text": {b"v": b"1"}}, Ignored.OTHER_NETWORK),
        ({"text": {b"v": b"1", b"n": None}}, Ignored.OTHER_NETWORK),
        ({"text": {}}, Ignored.OTHER_VERSION),
        ({"text": {b"v": b"2", b"n": TAG.encode()}}, Ignored.OTHER_VERSION),
        ({"port": None}, Ignored.MALFORMED),
        ({"port": 0}, Ignored.MALFORMED),
        ({"hosts": ()}, Ignored.MALFORMED),
        ({"hosts": ("0.0.0.0", "224.0.0.1", "not-an-address")}, Ignored.MALFORMED),
    ],
)
def test_anything_else_is_ignored_for_a_reason(wrong: dict[str, object], ignored: Ignored) -> None:
    assert _read(**wrong) is ignored  # type: ignore[arg-type]


def test_what_a_later_version_adds_is_ignored() -> None:
    assert isinstance(_read(text={**text_record(TAG), b"x": b"\xff", b"y": None}), Found)


def test_an_advert_names_at_most_eight_addresses() -> None:
    found = _read(hosts=tuple(f"10.0.0.{number}" for number in range(1, 30)))
    assert isinstance(found, Found)
    assert len(found.hosts) == 8


@given(
    st.text(max_size=80),
    st.none() | st.integers(),
    st.dictionaries(st.binary(max_size=3), st.none() | st.binary(max_size=9), max_size=4),
    st.lists(st.text(max_size=20), max_size=4),
)
def test_reading_never_raises(
    label: str, port: int | None, text: dict[bytes, bytes | None], hosts: list[str]
) -> None:
    read_advert(f"{label}.{SERVICE_TYPE}", port, text, hosts, own=OWN, tag=TAG)
    _read(port=port, text={**text, **text_record(TAG)}, hosts=tuple(hosts))
