"""The directory against a naive one, and what it costs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.directory import Directory
from agents.health import Health
from agents.hosting import Kind
from keys import PeerId
from p2p import encode_payload

PEERS = [PeerId(letter * 52) for letter in "abc"]
NAMES = ["one", "two"]
SKILLS = ["math.add", "shop:math.add", "text.read", "bad/name"]
STATES = ["healthy", "degraded", "failed", "odd"]

Said = tuple[tuple[str, ...], str]


def entry(skills: tuple[str, ...], state: str = "healthy", version: int = 1) -> bytes:
    table = [[name, f"{name}()", "does it", "", 1, False, "call"] for name in skills]
    return encode_payload([version, 4, table, [state, "why", 7], ""])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PEERS),
            st.sampled_from(NAMES),
            st.none()
            | st.tuples(
                st.lists(st.sampled_from(SKILLS), unique=True).map(tuple), st.sampled_from(STATES)
            ),
        ),
        max_size=40,
    )
)
def test_it_says_what_a_naive_one_says(words: list[tuple[PeerId, str, Said | None]]) -> None:
    directory = Directory()
    model: dict[tuple[PeerId, str], Said] = {}
    for peer, name, said in words:
        change = entry(*said) if said is not None else None
        directory.apply(peer, 9, {name: change}, lambda namespace: False)
        if said is None:
            model.pop((peer, name), None)
        else:
            model[peer, name] = said
        directory.check_invariants()
        for skill in ("math.add", "text.read", "one/math.add", "shop:math.add", "bad/name"):
            assert set(directory.providers(skill)) == naive(model, skill)
            assert set(directory.degraded(skill)) == naive(model, skill, "degraded", "odd")
    assert len(directory) == len(model)
    failed = {(name, who) for (who, name), (_, state) in model.items() if state == "failed"}
    assert set(directory.failed()) == failed
    for peer in PEERS:
        directory.remove(peer)
    directory.check_invariants()
    assert directory.capabilities() == ()
    assert len(directory) == 0


def naive(model: Mapping[tuple[PeerId, str], Said], wanted: str, *states: str) -> set[PeerId]:
    agent, _, skill = wanted.rpartition("/")
    if ":" in wanted or agent == "bad":
        return set()
    return {
        peer
        for (peer, name), (skills, state) in model.items()
        if skill in skills and state in (states or ("healthy", "degraded", "odd"))
        if name == agent or not agent
    }


def test_what_people_see_of_an_agent_is_what_its_node_said() -> None:
    directory = Directory()
    directory.apply(
        PEERS[0], 9, {"one": entry(("math.add", "shop:math.add"), "degraded")}, lambda _: False
    )
    [(peer, card)] = directory
    assert (peer, card.name, card.capacity) == (PEERS[0], "one", 4)
    assert card.condition == (Health.DEGRADED, "why", 7)
    assert {name: skill.usage for name, skill in card.skills.items()} == {"math.add": "math.add()"}
    assert directory.kind_of("one/math.add") is Kind.CALL
    assert directory.kind_of("shop:math.add") is None
    assert directory.start_of(PEERS[0]) == 9


def test_what_cannot_be_read_is_left_out_and_counted() -> None:
    directory = Directory()
    bad: dict[str, bytes | None] = {
        "one": entry(("math.add",), version=2),
        "two": b"\xc1",
        "n" * 64: entry(("math.add",)),
    }
    directory.apply(PEERS[0], 9, bad, lambda _: True)
    assert not directory.providers("math.add")
    assert directory.counts["offer_unreadable"] == 3


def test_a_worker_is_made_anew_only_when_it_changed() -> None:
    directory = Directory()
    directory.apply(PEERS[0], 9, {"one": entry(("math.add",))}, lambda _: True)
    directory.apply(PEERS[1], 9, {"one": entry(("math.add",))}, lambda _: True)

    def views(peer: PeerId) -> Any:
        return directory.worker(peer, 9, 0, takes_work=True).agents

    before = [views(peer) for peer in PEERS[:2]]
    directory.apply(PEERS[0], 9, {"one": entry(("text.read",), "degraded")}, lambda _: True)
    assert views(PEERS[0]) == (("one", frozenset({"text.read"}), 4, True, 0),)
    assert views(PEERS[1]) is before[1]
    assert directory.worker(PEERS[1], 9, 0, takes_work=False).agents == ()


def test_ten_thousand_agents_take_less_than_two_kilobytes_each() -> None:
    said = {
        peer: {f"agent-{n}": entry((f"{peer[0]}{n}.work",)) for n in range(500)}
        for peer in [PeerId(chr(97 + p) * 52) for p in range(20)]
    }
    tracemalloc.start()
    directory = Directory()
    for peer, changes in said.items():
        directory.apply(peer, 9, changes, lambda _: True)
        directory.worker(peer, 9, 0, takes_work=True)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(directory) == 10_000
    print(f"{held / 10_000:.0f} bytes each")
    assert held / 10_000 < 1_500  # and the bytes that came, about 100
