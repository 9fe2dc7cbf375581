"""The table of requests: every token leaves exactly once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.rpc import RequestTable
from p2p.rpc.deadlines import SHORTEST_MS, interval_ms

PEERS = st.sampled_from(["ada", "ben"])


def table() -> RequestTable[str]:
    return RequestTable(10)


def test_an_answer_of_the_asked_peer_settles_a_request_once() -> None:
    requests = table()
    number = requests.open("ada", "work", 0, 100, "token")
    assert requests.settle(number, "ben") is None
    looked = requests.look(number)
    assert looked is not None
    assert (looked.what, looked.deadline_ms) == ("work", 100)
    assert requests.settle(number, "ada") == "token"
    assert requests.settle(number, "ada") is None
    assert requests.look(number) is None
    assert requests.late_replies == 2


def test_requests_expire_in_the_order_of_their_deadlines() -> None:
    requests = table()
    late = requests.open("ada", "late", 0, 200, "late")
    soon = requests.open("ada", "soon", 0, 100, "soon")
    assert requests.due_ms == 100
    assert requests.expire(99) == []
    assert requests.due_ms is not None
    assert requests.due_ms <= 99 + SHORTEST_MS
    assert [pending.token for pending in requests.expire(100)] == ["soon"]
    assert [pending.token for pending in requests.expire(300)] == ["late"]
    assert requests.due_ms is None
    assert late != soon


def test_the_table_is_not_looked_through_more_often_than_that_costs_little() -> None:
    requests: RequestTable[int] = RequestTable(100_000)
    looks, now_ms = 0, 0
    for n in range(50_000):
        requests.open("ada", "x", 0, 100 + n, n)
    while (due_ms := requests.due_ms) is not None and now_ms < 1000:
        now_ms = max(now_ms + 1, due_ms)
        late = [now_ms - pending.deadline_ms for pending in requests.expire(now_ms)]
        looks += 1
        assert all(0 <= ms <= interval_ms(50_000) for ms in late)
    assert looks <= 2 + 900 // interval_ms(48_000)


def test_losing_a_peer_takes_only_its_requests() -> None:
    requests = table()
    requests.open("ada", "x", 0, 100, "1")
    other = requests.open("ben", "y", 0, 100, "2")
    assert [p.token for p in requests.lose("ada")] == ["1"]
    assert requests.abandon(other)
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
            self.out(found)

    @rule(number=st.integers(1, 40))
    def abandon(self, number: int) -> None:
        if self.requests.abandon(number):
            self.out(number)

    @rule(peer=PEERS)
    def lose(self, peer: str) -> None:
        for found in self.requests.lose(peer):
            self.out(found.token)

    @rule(ms=st.integers(0, 60))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for found in self.requests.expire(self.now_ms):
            assert found.deadline_ms <= self.now_ms
            self.out(found.token)

    @invariant()
    def agrees(self) -> None:
        self.requests.check_invariants()
        assert len(self.requests) == len(self.inside)


TestStory = Story.TestCase
