"""The table of candidates against a small world of doors that open, close, move and lie."""

from __future__ import annotations

import random
from itertools import count

import pytest

from keys import PeerId
from p2p.discovery import (
    Address,
    Banned,
    CandidateEvent,
    CandidateSettings,
    CandidateTable,
    Dial,
    DialFailed,
    Found,
    Introduced,
    Lost,
    NetworkChanged,
    PeerGone,
    Source,
    Tick,
    Told,
)

OWN = PeerId("k" * 52)
PEERS = [PeerId(letter * 52) for letter in "abcdefpqrstuvw"]
STEPS = 700


class World:
    """Who lives at which address, who has a session with us, and the dials in the air."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        settings = CandidateSettings(
            max_candidates=40,
            max_unproven_per_host=6,
            max_dials=6,
            max_dials_per_class=4,
            news_burst=30,
            knock_for_ms=400_000,
            hint_for_ms=200_000,
        )
        self.table = CandidateTable(
            OWN, settings, random.Random(seed + 1), own_networks=["10.0.0.1/24"]
        )
        self.now_ms = 0
        self.living: dict[Address, PeerId] = {}
        self.sessions: set[PeerId] = set()
        self.banned: set[PeerId] = set()
        self.dials: dict[int, Dial] = {}
        self.numbers = count(1)

    def do(self, event: CandidateEvent) -> None:
        for effect in self.table.step(event, now_ms=self.now_ms):
            if isinstance(effect, Dial):
                assert effect.number == next(self.numbers), "dials are numbered without gaps"
                assert effect.peer_id not in self.sessions, "a live session is never dialled"
                assert effect.peer_id not in self.banned
                assert effect.addresses
                assert len(set(effect.addresses)) == len(effect.addresses) <= 8
                self.dials[effect.number] = effect
        self.table.check_invariants()
        connected = {r.peer_id for r in self.table.why(self.now_ms) if r.state == "connected"}
        assert connected == self.sessions

    def address(self) -> Address:
        return Address(f"10.0.0.{self.rng.randint(2, 12)}", self.rng.choice((4747, 4748)))

    def one_thing(self) -> None:
        self.now_ms += self.rng.choice((0, 1, 30, 300, 3_000, 30_000))
        due_ms = self.table.deadline_ms
        if due_ms is not None and due_ms <= self.now_ms:
            self.do(Tick())
            due_ms = self.table.deadline_ms
            assert due_ms is None or due_ms > self.now_ms, "it would spin"
        rare = [self.take_back, self.come_in, self.go, self.move, self.ban, self.roam, self.babble]
        rare.append(self.say_much)
        self.rng.choice([*rare, *[self.say] * 3, *[self.answer] * 3])()

    def say(self) -> None:
        self.do(self.said())

    def say_much(self) -> None:
        self.do(Told(tuple(self.said() for _ in range(self.rng.randint(0, 12)))))

    def said(self) -> Found:
        source = self.rng.choice(list(Source))
        peer = None if source is Source.SEED else self.rng.choice([*PEERS, OWN])
        address = self.address()
        hosts = (address.host, self.address().host)[: 1 if peer is None else 2]
        return Found(source, peer, hosts, address.port)

    def take_back(self) -> None:
        self.do(Lost(self.rng.choice((Source.MDNS, Source.GOSSIP)), self.rng.choice(PEERS)))

    def answer(self) -> None:
        if not self.dials:
            return
        dial = self.dials.pop(self.rng.choice(list(self.dials)))
        for address in dial.addresses:
            peer = self.living.get(address)
            if peer is not None and self.rng.random() < 0.8:
                if peer != OWN:
                    self.sessions.add(peer)
                    self.banned.discard(peer)
                self.do(Introduced(peer, address, dial.number))
                return
        failures = tuple((address, "refused") for address in dial.addresses)
        self.do(DialFailed(dial.number, failures, is_refusal=self.rng.random() < 0.2))

    def come_in(self) -> None:
        peer = self.rng.choice(PEERS)
        self.sessions.add(peer)
        self.banned.discard(peer)
        self.do(Introduced(peer))

    def go(self) -> None:
        peer = self.rng.choice(PEERS)
        self.sessions.discard(peer)
        self.do(PeerGone(peer))

    def move(self) -> None:
        self.living[self.address()] = self.rng.choice([*PEERS, OWN])

    def ban(self) -> None:
        if self.rng.random() < 0.2:
            peer = self.rng.choice(PEERS)
            self.sessions.discard(peer)
            self.banned.add(peer)
            self.do(Banned(peer))

    def roam(self) -> None:
        if self.rng.random() < 0.1:
            self.do(NetworkChanged((f"10.0.{self.rng.randint(0, 1)}.1/24",)))

    def babble(self) -> None:
        """What a careless caller or a liar may say."""
        junk: tuple[CandidateEvent, ...] = (
            DialFailed(self.rng.randint(10**6, 10**7), ()),
            Found(Source.MDNS, self.rng.choice(PEERS), ("0.0.0.0", "x y"), 4747),
            Found(Source.GOSSIP, self.rng.choice(PEERS), (), -1),
            Found(Source.MDNS, None, ("10.0.0.5",), 4747),
        )
        self.do(self.rng.choice(junk))


@pytest.mark.parametrize("seed", range(8))
def test_no_order_of_events_breaks_the_table(seed: int) -> None:
    print(f"seed {seed}")
    world = World(seed)
    for _ in range(STEPS):
        world.one_thing()
    assert world.table.counters()["dials"] > 20, "the world was lively enough to mean something"


@pytest.mark.parametrize("seed", range(2))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    print(f"seed {seed}")
    runs = []
    for _ in range(2):
        world = World(seed)
        for _ in range(300):
            world.one_thing()
        runs.append((world.table.why(world.now_ms), dict(world.table.counters())))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("seed", range(4))
def test_when_the_world_calms_down_everybody_reachable_is_met(seed: int) -> None:
    """Whatever happened before: peers that live at a seed are met within a minute or two."""
    print(f"seed {seed}")
    world = World(seed)
    for _ in range(STEPS):
        world.one_thing()
    world.living = {Address(f"10.0.0.{40 + i}", 4747): p for i, p in enumerate(PEERS)}
    for address in world.living:
        world.do(Found(Source.SEED, None, (address.host,), address.port))
    end_ms = world.now_ms + 120_000
    while world.now_ms < end_ms and world.sessions < set(PEERS):
        for number in list(world.dials):
            dial = world.dials.pop(number)
            met = next((a for a in dial.addresses if a in world.living), None)
            if met is None:
                world.do(DialFailed(number, tuple((a, "refused") for a in dial.addresses)))
            else:
                world.sessions.add(world.living[met])
                world.do(Introduced(world.living[met], met, number))
        due_ms = world.table.deadline_ms
        if not world.dials:
            assert due_ms is not None, f"asleep with {len(world.sessions)} of {len(PEERS)} met"
            world.now_ms = max(world.now_ms, due_ms)
            world.do(Tick())
    assert world.sessions == set(PEERS)
