"""Random histories against the plain model, and against stores that went through snapshots."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from kv_histories import LIMITS, Command, History
from kv_lab import restored
from kv_model import Model

from consensus.kv import Changes, Kind, KvStore, Refusal, Reply


class Machine(RuleBasedStateMachine):
    """One store that keeps going, one that is restored from its snapshot before every command."""

    def __init__(self) -> None:
        super().__init__()
        self.history: History | None = None
        self.store = KvStore(LIMITS)
        self.other = KvStore(LIMITS)
        self.model = Model(LIMITS)
        self.tokens: dict[str, int] = {}
        self.promised: dict[str, tuple[int, int]] = {}  # lock: token, until when

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 8))
    def commands(self, seed: int, count: int) -> None:
        rng = random.Random(seed)
        if self.history is None:
            self.history = History(rng)
        self.history.rng = rng
        for _ in range(count):
            self.step(self.history)

    def step(self, history: History) -> None:
        command = history.next(self.model)
        self.model.begin(history.index, history.now_ms)
        wanted = getattr(self.model, command.method)(*command.args)
        for store in (self.store, self.other):
            got = store.apply(history.index, history.now_ms, command.data)
            assert got == wanted, command
            assert type(got) is Reply
            store.check_invariants()
        history.heard(command, wanted)
        self.judge_locks(command, wanted)

    def judge_locks(self, command: Command, reply: Reply) -> None:
        """Tokens grow, and nobody is given a lock before its holder's time is over."""
        for name in [n for n in self.promised if n not in self.model.held]:
            token, until = self.promised[name]
            ended_by_time = command.method == "expire" and until <= self.model.now
            by_session = command.method in ("expire", "end_session")
            released = command.method == "request" and any(
                op[0] == Kind.RELEASE and op[1:] == (name, token) for op in command.args[1]
            )
            assert ended_by_time or by_session or released, (name, command)
            del self.promised[name]
        for name, lock in self.model.held.items():
            view = self.store.lock(name)
            assert view is not None
            assert (view.token, view.holder, view.deadline_ms, view.client) == (
                lock.token,
                lock.holder,
                lock.deadline,
                lock.tie,
            )
            before, until = self.promised.get(name, (0, 0))
            if lock.token != before:
                assert lock.token > self.tokens.get(name, 0)
                self.tokens[name] = lock.token
            else:
                assert lock.deadline >= until
            self.promised[name] = (lock.token, lock.deadline)

    @rule()
    def snapshot(self) -> None:
        self.other = restored(self.other)

    @invariant()
    def reads_agree(self) -> None:
        store, model = self.store, self.model
        assert store.digest() == self.other.digest()
        listed = [(x.key, tuple(x.entry)) for x in store.list(limit=100)]
        rows = {
            k: (r.value, r.version, r.created, r.expires) for k, r in sorted(model.rows.items())
        }
        assert dict(listed) == rows
        assert [key for key, _ in listed] == list(rows)
        for now in (model.now, model.now + 1000, model.now + 10**6):
            assert store.expired(now) == self.other.expired(now) == model.expired(now)
        assert len(store) == len(rows)
        assert store.session_count() == len(model.sessions)

    @invariant()
    def the_feed_has_every_change(self) -> None:
        got = self.store.changes_since(0, 10**6)
        assert isinstance(got, Changes)
        assert [(c.log_index, str(c.cause), c.key, c.value) for c in got.changes] == (
            self.model.changes
        )
        assert got.through == self.store.index == self.model.index


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("seed", range(40))
def test_a_long_history_with_a_snapshot_at_every_point(seed: int) -> None:
    machine = Machine()
    history = History(random.Random(seed))
    for _ in range(150):
        machine.snapshot()
        machine.step(history)
        machine.reads_agree()
    machine.the_feed_has_every_change()


def test_histories_reach_every_refusal_that_they_can() -> None:
    """The test of the test: what the model is compared on does happen."""
    seen: set[Refusal] = set()
    for seed in range(30):
        machine = Machine()
        history = History(random.Random(seed))
        for _ in range(150):
            machine.step(history)
        seen |= set(machine.store.refused)
    assert set(Refusal) - seen == {
        Refusal.MALFORMED,
        Refusal.UNKNOWN_VERSION,
        Refusal.UNKNOWN_KIND,
        Refusal.KEY_INVALID,
        Refusal.VALUE_TOO_LARGE,
        Refusal.OUT_OF_RANGE,
    }
