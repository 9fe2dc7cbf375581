"""Topics as programs see them, between whole nodes in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents import InvalidArguments, Message, Net
from p2p import (
    BadTopic,
    MisuseError,
    NotEnoughSubscribers,
    PeerUnreachable,
    SubscriberTooSlow,
)


async def two(lab: NodeLab) -> tuple[Net, Net]:
    nodes = [await lab.up(name) for name in ("ada", "bob")]
    for node in nodes:
        await until(lambda node=node: len(node.peer.presence.present()) == 1)
    return nodes[0].net, nodes[1].net


async def take(messages: AsyncIterator[Message], count: int) -> list[Message]:
    return [await anext(messages) for _ in range(count)]


def test_messages_come_in_order_with_their_numbers_and_sender(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await two(lab)
        async with bob.subscribe("news/") as messages:
            await ada.wait_subscribers("news/today")
            sent = [await ada.publish("news/today", {"n": n}) for n in range(200)]
            seen = await take(messages, 200)
        assert [m.value["n"] for m in seen] == list(range(200))
        assert [m.sequence for m in seen] == sent
        assert {(m.topic, m.sender, m.gap) for m in seen} == {("news/today", ada.peer_id, 0)}
        assert seen[0].sender_name.startswith("ada")

    in_lab(tmp_path, scenario, voters=1)


def test_publishing_waits_for_as_many_subscribers_as_are_wanted(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await two(lab)
        with pytest.raises(NotEnoughSubscribers, match="0 of 1"):
            await ada.publish("news", 1, wait_subscribers=1, timeout=0.5)
        publishing = asyncio.create_task(ada.publish("news", 2, wait_subscribers=1))
        await asyncio.sleep(1)
        assert not publishing.done()
        async with bob.subscribe("news") as messages:
            assert (await anext(messages)).value == 2
            await publishing

    in_lab(tmp_path, scenario, voters=1)


def test_a_latecomer_gets_the_last_messages_first(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await two(lab)
        await ada.keep_history("log", messages=5)
        for n in range(20):
            await ada.publish("log", n)
        await asyncio.sleep(0.1)  # it has left
        for net in (ada, bob):
            async with net.subscribe("log", replay=3) as messages:
                assert [m.value for m in await take(messages, 3)] == [17, 18, 19]

    in_lab(tmp_path, scenario, voters=1)


def test_a_slow_reader_learns_how_many_it_lost(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await two(lab)
        async with bob.subscribe("news", buffer=10) as messages:
            await ada.publish("news", 0, wait_subscribers=1)
            assert (await anext(messages)).value == 0
            for n in range(1, 101):
                await ada.publish("news", n)
            await asyncio.sleep(1)
            rest = await take(messages, 10)
        assert [m.value for m in rest] == list(range(91, 101))
        assert [m.gap for m in rest] == [90, *[0] * 9]

    in_lab(tmp_path, scenario, voters=1)


def test_a_subscription_that_may_lose_nothing_ends_when_it_would(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await two(lab)
        async with bob.subscribe("news", buffer=5, policy="error") as messages:
            for n in range(9):
                await ada.publish("news", n, wait_subscribers=1)
            await asyncio.sleep(1)
            with pytest.raises(SubscriberTooSlow, match="news"):
                await take(messages, 9)

    in_lab(tmp_path, scenario, voters=1)


def test_a_restricted_message_reaches_those_it_is_for(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await two(lab)
        async with bob.subscribe("news") as messages:
            await ada.wait_subscribers("news")
            await ada.publish("news", "for admins", only_roles=["admin"])
            await ada.publish("news", "for ada", only_peers=["ada"])
            await ada.publish("news", "for bob", only_peers=[bob.peer_id])
            assert (await anext(messages)).value == "for bob"
        async with ada.subscribe("news", replay=9) as own:  # the first node is an admin
            assert [m.value for m in await take(own, 2)] == ["for admins", "for ada"]

    in_lab(tmp_path, scenario, voters=1)


def test_what_cannot_be_published_or_subscribed_to_is_refused_in_words(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, _ = await two(lab)
        with pytest.raises(BadTopic, match="subtree"):
            await ada.publish("news/", 1)
        with pytest.raises(InvalidArguments, match="'king' is none of service"):
            await ada.publish("news", 1, only_roles=["king"])
        with pytest.raises(PeerUnreachable, match="nobody"):
            await ada.publish("news", 1, only_peers=["nobody"])
        with pytest.raises(MisuseError, match="policy"):
            async with ada.subscribe("news", policy="some"):  # type: ignore[arg-type]
                pass
        with pytest.raises(BadTopic):
            async with ada.subscribe(""):
                pass

    in_lab(tmp_path, scenario, voters=1)
