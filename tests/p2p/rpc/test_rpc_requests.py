"""The table of requests: every token leaves exactly once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.rpc import RequestTable
from p2p.rpc.wheel import SLOT_MS

PEERS = st.sampled_from(["ada", "ben"])


def table() -> RequestTable[str]:
    return RequestTable(10)


def test_an_answer_of_the_asked_peer_settles_a_request_once() -> None:
    requests = table()
    number = requests.open("ada", "work", 0, 100, "token")
    assert requests.settle(number, "ben") is None
    found = requests.settle(number, "ada")
    assert found is not None
    assert found.token == "token"
    assert requests.settle(number, "ada") is None
    assert requests.late_replies == 2


def test_requests_expire_in_the_order_of_their_deadlines() -> None:
    requests = table()
    late = requests.open("ada", "late", 0, 200, "late")
    soon = requests.open("ada", "soon", 0, 100, "soon")
    due_ms = requests.due_ms
    assert due_ms is not None
    assert 100 <= due_ms <= 100 + SLOT_MS
    assert requests.expire(due_ms - 1) == []
    assert [number for number, _ in requests.expire(due_ms)] == [soon]
    assert [number for number, _ in requests.expire(300)] == [late]
    assert requests.due_ms is None


def test_losing_a_peer_takes_only_its_requests() -> None:
    requests = table()
    requests.open("ada", "x", 0, 100, "1")
    other = requests.open("ben", "y", 0, 100, "2")
    assert [p.token for _, p in requests.lose("ada")] == ["1"]
    assert requests.abandon(other) is not None
    assert len(requests) == 0


@given(st.integers(0, 50))
def test_it_is_full_at_its_limit(count: int) -> None:
    requests = table()
    for n in range(min(count, 10)):
        requests.open("ada", "x", 0, n + 1, str(n))
    assert requests.is_full == (count >= 10)


class Story(RuleBasedStateMachine):
    """Any order of events: no token is lost, none leaves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: RequestTable[int] = RequestTable(1000)
        self.inside: set[int] = set()
        self.now_ms = 0
        self.last = 0

    def out(self, token: int) -> None:
        assert token in self.inside
        self.inside.discard(token)

    @rule(peer=PEERS, budget_ms=st.integers(1, 50))
    def open(self, peer: str, budget_ms: int) -> None:
        self.last += 1
        assert self.requests.open(peer, "w", self.now_ms, budget_ms, self.last) == self.last
        self.inside.add(self.last)

    @rule(number=st.integers(1, 40), peer=PEERS)
    def settle(self, number: int, peer: str) -> None:
        found = self.requests.settle(number, peer)
        if found is not None:
            self.out(found.token)

    @rule(number=st.integers(1, 40))
    def abandon(self, number: int) -> None:
        found = self.requests.abandon(number)
        if found is not None:
            self.out(found.token)

    @rule(peer=PEERS)
    def lose(self, peer: str) -> None:
        for _, found in self.requests.lose(peer):
            self.out(found.token)

    @rule(ms=st.integers(0, 60))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for _, found in self.requests.expire(self.now_ms):
            assert found.deadline_ms <= self.now_ms
            self.out(found.token)

    @invariant()
    def agrees(self) -> None:
        self.requests.check_invariants()
        assert len(self.requests) == len(self.inside)


TestStory = Story.TestCase
