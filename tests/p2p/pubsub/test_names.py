"""What a topic may be called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import MisuseError
from p2p.pubsub.errors import BadTopic
from p2p.pubsub.names import check_subscription, check_topic, is_below, is_topic


@pytest.mark.parametrize(
    "name", ["a", "metrics/cpu/host1", "news.today", "größe", "a b", "x" * 255]
)
def test_levels_of_text_are_a_topic(name: str) -> None:
    check_topic(name)
    check_subscription(name)
    assert is_topic(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "not empty"),
        ("/a", "level"),
        ("a//b", "level"),
        ("a//", "level"),
        ("/", "level"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("\x1b[2J", "control"),
        ("a\u2028b", "line ends"),
        ("\ud800", "halves"),
        ("x" * 256, "255 bytes, and this one 256"),
        ("ü" * 128, "255 bytes, and this one 256"),
        (7, "int"),
    ],
)
def test_what_can_be_no_topic_is_refused_in_words(name: str, why: str) -> None:
    for check in (check_topic, check_subscription):
        with pytest.raises(BadTopic, match=why) as caught:
            check(name)
        assert caught.value.topic == name
        assert isinstance(caught.value, MisuseError)
        assert caught.value.definite


def test_a_subtree_is_subscribed_to_and_not_published_on() -> None:
    check_subscription("metrics/")
    with pytest.raises(BadTopic, match="publish on a topic below it"):
        check_topic("metrics/")
    assert not is_topic("metrics/")


def test_a_subscription_hears_its_topic_or_what_is_below_and_no_namesake() -> None:
    assert is_below("metrics/cpu", "metrics/cpu")
    assert is_below("metrics/cpu/host1", "metrics/")
    assert not is_below("metrics/cpu2", "metrics/cpu")
    assert not is_below("metrics/cpu/host1", "metrics/cpu")
    assert not is_below("metrics", "metrics/")
    assert not is_below("metricsplus/x", "metrics/")


def test_a_long_name_is_shown_in_part() -> None:
    with pytest.raises(BadTopic) as caught:
        check_topic("y" * 100_000)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=40))
def test_every_name_is_either_a_topic_or_a_subtree_or_refused(name: str) -> None:
    try:
        check_subscription(name)
    except BadTopic:
        assert not is_topic(name)
    else:
        assert is_topic(name) is not name.endswith("/")
