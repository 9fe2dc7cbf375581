"""Which addresses of a machine are told to others."""

from __future__ import annotations

import pytest

from p2p.discovery import (
    Interface,
    UnknownInterface,
    hosts_to_tell,
    survey_interfaces,
    usable_interfaces,
)
from p2p.discovery.interfaces import sort_out

ETH = Interface("eth0", "192.168.1.7", 24)
ETH6 = Interface("eth0", "fd00::7", 64)
LINK = Interface("eth0", "fe80::7%eth0", 64)
PUBLIC = Interface("eth1", "93.184.216.34", 24)
LOOP = Interface("lo", "127.0.0.1", 8)
DOCKER = Interface("docker0", "172.17.0.1", 16)
VPN = Interface("wg0", "10.8.0.2", 24)


def test_the_best_address_comes_first() -> None:
    survey = sort_out([LINK, PUBLIC, ETH6, ETH], {}, [])
    assert survey.usable == (ETH, ETH6, PUBLIC, LINK)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("docker0", "containers"),
        ("br-0123456789ab", "containers"),
        ("veth12ab", "containers"),
        ("cni0", "containers"),
        ("flannel.1", "containers"),
        ("virbr0", "virtual machines"),
        ("vmnet8", "virtual machines"),
        ("utun3", "VPN"),
        ("tun0", "VPN"),
        ("wg0", "VPN"),
        ("tailscale0", "VPN"),
        ("ztabcdef", "VPN"),
        ("awdl0", "Apple"),
        ("sit0", "tunnel"),
    ],
)
def test_an_interface_nobody_can_reach_us_by_is_left_out_with_a_reason(
    name: str, reason: str
) -> None:
    survey = sort_out([ETH, Interface(name, "10.9.0.1", 24)], {}, [])
    assert survey.usable == (ETH,)
    (excluded,) = survey.excluded
    assert (excluded.name, excluded.address) == (name, "10.9.0.1")
    assert reason in excluded.reason


@pytest.mark.parametrize(
    "name", ["eth0", "enp3s0", "wlan0", "wlp2s0", "en0", "br0", "bond0", "bridge0", "em1", "usb0"]
)
def test_ordinary_interfaces_stay(name: str) -> None:
    assert sort_out([Interface(name, "10.9.0.1", 24)], {}, []).usable


def test_the_readable_name_of_windows_counts_too() -> None:
    interface = Interface("{C0FFEE00-0000}", "172.20.0.1", 20)
    survey = sort_out([interface], {interface.name: "vEthernet (WSL)"}, [])
    assert "virtual machines" in survey.excluded[0].reason


def test_an_interface_without_a_link_is_left_out() -> None:
    survey = sort_out([ETH], {}, ["eth0"])
    assert survey.excluded[0].reason == "has no link"


def test_loopback_only_when_asked_for() -> None:
    assert sort_out([ETH, LOOP], {}, []).usable == (ETH,)
    assert sort_out([LOOP, ETH], {}, [], loopback=True).usable == (ETH, LOOP)


def test_what_is_chosen_by_name_or_address_is_used_whatever_it_is() -> None:
    survey = sort_out([ETH, VPN, DOCKER], {}, ["wg0"], chosen=["wg0", "172.17.0.1"])
    assert set(survey.usable) == {VPN, DOCKER}
    assert survey.excluded[0].reason == "was not chosen"


def test_choosing_what_is_not_there_names_what_is() -> None:
    with pytest.raises(UnknownInterface, match=r"'eht0'.*eth0"):
        sort_out([ETH], {}, [], chosen=["eht0"])


def test_the_subnet_of_an_address() -> None:
    assert ETH.network == "192.168.1.0/24"
    assert LINK.network == "fe80::/64"


def test_this_machine_can_be_surveyed() -> None:
    assert any(interface.address == "127.0.0.1" for interface in usable_interfaces(loopback=True))
    excluded = {entry.address: entry.reason for entry in survey_interfaces().excluded}
    assert excluded["127.0.0.1"] == "reaches only this machine"


def test_addresses_where_nobody_listens_are_told_to_nobody() -> None:
    assert hosts_to_tell([ETH, ETH6, LINK]) == (ETH.address, ETH6.address)
    assert hosts_to_tell([ETH, ETH6, LINK], ipv6=False) == (ETH.address,)
    assert hosts_to_tell([ETH6, LINK], ipv6=False) == ()
    assert hosts_to_tell([LINK]) == ("fe80::7",)
