"""A log that puts old entries away reads as one list of them would."""

from __future__ import annotations

import random

import pytest

from consensus.raft import Entry, EntryKind
from consensus.raft import log as module
from consensus.raft.log import ENTRY_OVERHEAD_BYTES, Log


@pytest.mark.parametrize("seed", range(20))
def test_a_log_in_columns_is_the_log(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"seed {seed}")
    monkeypatch.setattr(module, "RECENT", 3)
    rng = random.Random(seed)
    log, model, base, base_term, term = Log(), list[Entry](), 0, 0, 1
    for _ in range(300):
        last = base + len(model)
        match rng.choice(("append", "append", "append", "truncate", "compact", "reset")):
            case "append":
                term += rng.random() < 0.2
                new = [_entry(last + 1 + n, term, rng) for n in range(rng.randrange(9))]
                log.append(new)
                model += new
            case "truncate" if model:
                index = rng.randint(base + 1, last)
                log.truncate(index)
                del model[index - base - 1 :]
            case "compact":
                log.stored = last
                index = rng.randint(base, last)
                base_term = model[index - base - 1].term if index > base else base_term
                log.compact(index)
                del model[: index - base]
                base = index
            case "reset" if rng.random() < 0.1:
                base, base_term, model = last + rng.randrange(5), term, []
                log.reset(base, base_term)
        _compare(log, model, base, base_term, rng)


def _entry(index: int, term: int, rng: random.Random) -> Entry:
    return Entry(index, term, rng.choice(tuple(EntryKind)), rng.randbytes(rng.randrange(40)))


def _compare(log: Log, model: list[Entry], base: int, base_term: int, rng: random.Random) -> None:
    log.check_invariants()
    last = base + len(model)
    assert (log.base_index, log.last_index) == (base, last)
    assert log.last_term == (model[-1].term if model else base_term)
    assert [log.term(index) for index in range(base - 1, last + 2)] == [
        None,
        base_term,
        *(entry.term for entry in model),
        None,
    ]
    if not model:
        return
    first = rng.randint(base + 1, last)
    end = rng.randint(first, last)
    wanted = model[first - base - 1 : end - base]
    assert log.slice(first, end) == wanted
    assert all(type(entry) is Entry and type(entry.kind) is EntryKind for entry in wanted)
    assert log.data_bytes(first, end) == sum(len(entry.data) for entry in wanted)
    assert log.page(first, end, 10_000, 10_000) == tuple(wanted)
    _compare_page(log, wanted, rng.randint(1, 8), rng.randint(1, 300))


def _compare_page(log: Log, wanted: list[Entry], max_entries: int, max_bytes: int) -> None:
    page = log.page(wanted[0].index, wanted[-1].index, max_entries, max_bytes)
    assert list(page) == wanted[: len(page)]
    sizes = [len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in wanted]
    assert len(page) == 1 or sum(sizes[: len(page)]) <= max_bytes
    fits_no_more = len(page) == min(len(wanted), max_entries)
    assert fits_no_more or sum(sizes[: len(page) + 1]) > max_bytes
