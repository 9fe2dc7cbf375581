"""Seeds: what a person writes is an address, or an error that says why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.discovery import BadSeed, Seed, parse_seed, parse_seeds


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.168.1.20", "192.168.1.20", 4747),
        (" 192.168.1.20:9 ", "192.168.1.20", 9),
        ("nas", "nas", 4747),
        ("nas.local:65535", "nas.local", 65_535),
        ("my_host-1.example.org.", "my_host-1.example.org.", 4747),
        ("[fd00::2]:4748", "fd00::2", 4748),
        ("[fd00::2]", "fd00::2", 4747),
        ("fd00::2", "fd00::2", 4747),
        ("fe80::1%eth0", "fe80::1%eth0", 4747),
        ("[fe80::1%eth0]:99", "fe80::1%eth0", 99),
        ("127.0.0.1:1", "127.0.0.1", 1),
    ],
)
def test_a_seed_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_seed(text) == Seed(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("   ", "empty"),
        (":4747", "host is missing"),
        ("host:", "not a number"),
        ("host:0", "1 to 65535"),
        ("host:65536", "1 to 65535"),
        ("host:-1", "not a number"),
        ("host:٣", "not a number"),
        ("host:99999999999", "not a number"),
        ("tcp://host:1", "URL"),
        ("host/path", "URL"),
        ("256.1.1.1", "neither an address nor a name"),
        ("1.2.3", "neither an address nor a name"),
        ("[fd00::2", "not closed"),
        ("[host]:1", "brackets hold an IPv6"),
        ("[fd00::2]4747", "after the bracket"),
        ("[fd00::2]:", "not a number"),
        ("fd00::2::3:4747", "needs brackets"),
        ("fe80::1", "link-local"),
        ("0.0.0.0:1", "nobody can be met"),
        ("[::]:1", "nobody can be met"),
        ("224.0.0.251", "nobody can be met"),
        ("255.255.255.255", "nobody can be met"),
        ("two words", "neither"),
        ("-host", "neither"),
        ("höst", "neither"),
        ("a" * 64, "neither"),
        ("a." * 127 + "b", "nobody"),
    ],
)
def test_a_bad_seed_is_quoted_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadSeed) as caught:
        parse_seed(text)
    assert why in str(caught.value)
    assert repr(text[:200]) in str(caught.value)


def test_a_seed_reads_back_as_it_prints() -> None:
    for text in ("10.0.0.1:7", "[fd00::2]:7", "nas:4747"):
        assert str(parse_seed(text)) == text


def test_several_seeds_with_commas_lines_comments_and_doubles() -> None:
    text = "10.0.0.1, 10.0.0.2:5\n# the old one\nnas  # in the cellar\n10.0.0.1:4747\n"
    assert parse_seeds(text) == (Seed("10.0.0.1", 4747), Seed("10.0.0.2", 5), Seed("nas", 4747))


def test_one_bad_seed_among_good_ones_is_not_skipped() -> None:
    with pytest.raises(BadSeed, match="host:0"):
        parse_seeds("10.0.0.1,host:0")


@given(st.text(max_size=60))
def test_any_text_is_a_seed_that_reads_back_or_a_bad_seed(text: str) -> None:
    try:
        seed = parse_seed(text)
    except BadSeed:
        return
    assert parse_seed(str(seed)) == seed
