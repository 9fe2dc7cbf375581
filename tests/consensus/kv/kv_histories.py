"""Random histories: commands as data, their bytes, and what the model makes of them."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from kv_lab import SMALL, client
from kv_model import Model

from consensus.kv import (
    Expiry,
    Operation,
    Reply,
    SessionRef,
    What,
    acquire,
    compare_set,
    complete,
    delete,
    encode,
    encode_batch,
    encode_end_session,
    encode_expire,
    encode_keep_alive,
    encode_register,
    put,
    release,
    renew,
)

KEYS = ("a", "\u00e9", "lock", "b/1", "b/2", "job")
NAMES = ("lock", "job", "x", "y")
LIMITS = SMALL


class Command(NamedTuple):
    """A method of the model with its arguments, and the bytes that mean the same."""

    method: str
    args: tuple[Any, ...]
    data: bytes


class History:
    """Draws commands that fit what happened so far often enough to be of interest."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.index = 0
        self.now_ms = 1000
        self.sent: list[Command] = []
        self.numbers: dict[str, int] = {}  # sessions as clients know them
        self.sequences: dict[str, int] = {}

    def next(self, model: Model) -> Command:
        rng = self.rng
        self.index += rng.choice((1, 1, 1, 3))
        self.now_ms += rng.choice((0, 0, 0, 10, 50, 300, 900, -50))
        choice = rng.random()
        if self.sent and choice < 0.15:
            return rng.choice(self.sent[-12:])
        if choice < 0.25:
            command = self._session_command()
        elif choice < 0.4:
            items = model.expired(self.now_ms + rng.choice((0, 0, 2000)))[: rng.randint(1, 3)]
            if not items or rng.random() < 0.2:
                guess = Expiry(rng.choice(list(What)), rng.choice(NAMES + KEYS), self._mark())
                items = [guess, *items]
            command = Command("expire", (items,), encode_expire(items))
        else:
            command = self._request(model)
        self.sent.append(command)
        return command

    def heard(self, command: Command, reply: Reply) -> None:
        if command.method == "register":
            who, number = command.args[0], reply.results[0].token
            if self.numbers.get(who) != number:
                self.numbers[who], self.sequences[who] = number, 0

    def _session_command(self) -> Command:
        who = client(self.rng.randint(1, 4))
        number = self.numbers.get(who, 1)
        choice = self.rng.random()
        if choice < 0.6:
            ttl_ms = self.rng.choice((1000, 20_000, 60_000))
            return Command("register", (who, ttl_ms), encode_register(who, ttl_ms))
        if choice < 0.8:
            return Command("keep_alive", (who, number), encode_keep_alive(who, number))
        return Command("end_session", (who, number), encode_end_session(who, number))

    def _request(self, model: Model) -> Command:
        rng = self.rng
        ref = None
        if self.numbers and rng.random() < 0.7:
            who = rng.choice(sorted(self.numbers))
            last = self.sequences[who]
            sequence = max(0, last + rng.choice((1, 1, 1, 1, 1, 1, 2, 0, -1, 70)))
            acknowledged = max(0, sequence - rng.choice((0, 1, 2, 2, 3, 5, 5, 68)))
            if sequence < last + 3:
                self.sequences[who] = max(last, sequence)
            ref = SessionRef(client(int(who, 16)), self.numbers[who], sequence, acknowledged)
        if rng.random() < 0.7:
            op = self._operation(model)
            return Command("request", (ref, [op]), encode(op, ref))
        ops = [self._operation(model) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.2:
            name = rng.choice(NAMES)
            again = acquire(name, "q", 1000)
            ops += [acquire(name, "p", 1000), release(name, self.index), again]
        return Command("request", (ref, ops), encode_batch(ops, ref))

    def _operation(self, model: Model) -> Operation:
        rng = self.rng
        key, name, mark = rng.choice(KEYS), rng.choice(NAMES), self._mark()
        if name in model.held and rng.random() < 0.7:
            mark = model.held[name].token
        value = bytes(rng.choice((0, 1, 5, 5, 20, 80)))
        ttl_ms = rng.choice((None, None, 1, 500, 2000))
        lease_ms = rng.choice((100, 3000, 20_000))
        match rng.choice((0, 0, 1, 2, 2, 3, 3, 3, 4, 5, 6, 6)):
            case 0:
                return put(key, value, ttl_ms=ttl_ms)
            case 1:
                return delete(key, version=rng.choice((None, mark)))
            case 2:
                return compare_set(key, rng.choice((None, mark, bytes(5))), value, ttl_ms=ttl_ms)
            case 3:
                return acquire(name, rng.choice("pq"), lease_ms, tied=rng.random() < 0.4)
            case 4:
                return renew(name, mark, lease_ms)
            case 5:
                return release(name, mark)
        return complete(name, mark, value)

    def _mark(self) -> int:
        """A version or token that may be right, this very command's own among them."""
        return max(0, self.index - self.rng.choice((0, 1, 2, 3, 4, 6, 9)))
