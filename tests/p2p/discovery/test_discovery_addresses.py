"""Addresses: what is worth dialling, and in which order."""

from __future__ import annotations

import pytest

from p2p.discovery.addresses import Address, is_dialable, is_near, networks_of, rank

HOME = networks_of(["192.168.1.7/24", "2001:db8:1::7/64"])


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "224.0.0.251", "ff02::fb", "255.255.255.255", "fe80::1", "1.2.3.4.5"],
)
def test_nobody_is_met_there(host: str) -> None:
    assert not is_dialable(host)


def test_our_own_subnet_comes_first_and_loopback_last() -> None:
    hosts = ["127.0.0.1", "8.8.8.8", "fe80::1%eth0", "169.254.3.3", "nas", "10.1.1.1"]
    ranked = rank([Address(host, 1) for host in [*hosts, "192.168.1.9"]], HOME)
    assert [address.host for address in ranked] == [
        "192.168.1.9",
        "10.1.1.1",
        "nas",
        "8.8.8.8",
        "169.254.3.3",
        "fe80::1%eth0",
        "127.0.0.1",
    ]


def test_equals_keep_their_order_and_doubles_go() -> None:
    addresses = [Address("10.0.0.2", 1), Address("10.0.0.1", 1), Address("10.0.0.2", 1)]
    assert rank(addresses, HOME) == (Address("10.0.0.2", 1), Address("10.0.0.1", 1))


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("192.168.1.9", True),
        ("10.9.9.9", True),
        ("169.254.1.1", True),
        ("fd00::5", True),
        ("2001:db8:1::5", True),
        ("2a00:1450::5", False),
        ("8.8.8.8", False),
        ("::ffff:8.8.8.8", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("example.org", False),
    ],
)
def test_what_the_lan_says_must_lie_on_the_lan(host: str, near: bool) -> None:
    assert is_near(host, HOME) is near


def test_loopback_is_near_where_loopback_is_our_network() -> None:
    assert is_near("127.0.0.1", networks_of(["127.0.0.1/8"]))
