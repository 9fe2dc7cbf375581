"""The fuzzer: what a harness is, how inputs are made from valid ones, and one run of a harness.

Inputs are mutations of valid examples: of their bytes, of the values in them (msgpack inside
msgpack too), or of their text. A harness may mend a mutated input afterwards, a checksum for
example, so that what lies behind it is reached. Everything is drawn from a seed, and whatever goes
wrong is printed with the command that replays it.

What this module does not know: any format.
"""

from __future__ import annotations

import gc
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import msgpack  # type: ignore[import-untyped]

Decode = Callable[[bytes], object]
Mend = Callable[[bytes], bytes]

CAP_S = 2.0  # of CPU for one input: what others do with the machine is not the decoder's
WAIT_S = 60.0  # of time for one input: a decoder waits for nothing
LEAK_BYTES = 24 << 20  # growth between a warm start and the end
MAX_INPUT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Harness:
    """One decoder, or several that read the same bytes.

    Attributes:
        covers: the functions under test, as `module:qualified name`.
        seeds: valid inputs; each must be taken without a refusal.
        refuses: what the decoder says that it raises.
        mend: makes a mutated input reach deeper, like a checksum put right again.
        is_text: the input is text, and mutations are of characters.
        make: builds most inputs itself, for what mutations reach too seldom: signed lies.
    """

    name: str
    decode: Decode
    seeds: Sequence[bytes]
    refuses: tuple[type[Exception], ...] = ()
    covers: tuple[str, ...] = ()
    mend: Mend | None = None
    is_text: bool = False
    takes_seeds: bool = True
    make: Callable[[random.Random], bytes] | None = None


class Hang(BaseException):
    """One input took more than it may."""


@dataclass
class Outcome:
    """What came of one run."""

    name: str
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    grown_bytes: int = 0
    slowest_s: float = 0.0
    problems: list[str] = field(default_factory=list)


def run(harness: Harness, inputs: int, seed: int = 0, most_problems: int = 5) -> Outcome:
    """Feed so many inputs; never raises for what the decoder does."""
    rng = random.Random(f"{harness.name}/{seed}")
    mutator = Mutator(rng, harness)
    outcome = Outcome(harness.name)
    before = {each: signal.signal(each, _hang) for each in (signal.SIGPROF, signal.SIGALRM)}
    warm_at, warm_bytes = max(inputs // 5, min(inputs, 1000)), 0
    began_s = time.perf_counter()
    try:
        for number in range(inputs):
            if number == warm_at:
                gc.collect()
                warm_bytes = resident_bytes()
            data = harness.seeds[number] if number < len(harness.seeds) else mutator.next()
            problem = _one(harness, data, outcome)
            if problem is not None:
                outcome.problems.append(_told(harness, data, problem))
                if len(outcome.problems) >= most_problems:
                    break
    finally:
        _arm(0, 0)
        for each, handler in before.items():
            signal.signal(each, handler)
    outcome.seconds = time.perf_counter() - began_s
    gc.collect()
    outcome.grown_bytes = max(0, resident_bytes() - warm_bytes) if warm_bytes else 0
    if outcome.grown_bytes > LEAK_BYTES:
        outcome.problems.append(f"{harness.name}: grew by {outcome.grown_bytes:,} bytes")
    return outcome


def _one(harness: Harness, data: bytes, outcome: Outcome) -> str | None:
    is_seed = outcome.inputs < len(harness.seeds)
    outcome.inputs += 1
    _arm(CAP_S, WAIT_S)
    try:
        harness.decode(data)
    except harness.refuses as error:
        outcome.refused += 1
        return f"refused its own example: {error!r}" if is_seed and harness.takes_seeds else None
    except Hang:
        return f"took longer than {CAP_S} s of CPU, or {WAIT_S} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    return None


def _arm(cpu_s: float, wait_s: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wait_s)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def _told(harness: Harness, data: bytes, problem: str) -> str:
    shown = data.hex() if len(data) <= 2048 else data[:2048].hex() + "..."
    return (
        f"{harness.name} {problem}\n"
        f"  again: python tests/fuzz --only {harness.name} --replay {shown}"
    )


def resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not Linux: leaks are not looked for
        return 0
    return pages * 4096


# -- mutations --------------------------------------------------------------------------------

_NUMBERS = (0, 1, -1, 2, 3, 7, 8, 31, 32, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31)
_LARGE = (
    2**32 - 1,
    2**32,
    2**53 - 1,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**31),
    -(2**63),
)
_TEXTS = (
    "",
    "a",
    "*",
    "..",
    "\0",
    "\x1b[31m",
    "\u202e",
    "\ufeff",
    "é",
    "\U0001f512",
    "a" * 64,
    "a" * 300,
    "a.b/c",
    "%s%n",
    "__class__",
)
_RAW = (
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x91" * 40,
    b"\x81\xa1a" * 40,
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xa2\xff\xfe",
    b"\x82\x01\x01\x01\x02",
    b"\x81\x90\x01",
    b"\xcb\x7f\xf8\0\0\0\0\0\0",
    b"\xcf\0\0\0\0\0\0\0\1",
)


class Mutator:
    """Inputs for one harness, without end."""

    def __init__(self, rng: random.Random, harness: Harness) -> None:
        self._rng = rng
        self._harness = harness
        self._seeds = [bytes(seed) for seed in harness.seeds] or [b""]
        self._values = [value for value in map(_value_of, self._seeds) if value is not _NONE]

    def next(self) -> bytes:
        rng = self._rng
        if self._harness.make is not None and rng.random() < 0.7:
            return self._harness.make(rng)
        if self._harness.is_text:
            data = self._text()
        elif self._values and rng.random() < 0.5:
            data = self._structured()
        else:
            data = self._bytes(rng.choice(self._seeds))
        if self._harness.mend is not None and rng.random() < 0.7:
            data = self._harness.mend(data)
        return data[:MAX_INPUT_BYTES]

    def _text(self) -> bytes:
        rng = self._rng
        text = rng.choice(self._seeds).decode("utf-8", "replace")
        for _ in range(rng.choice((1, 1, 2, 5))):
            at, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
            put = rng.choice(
                (
                    "",
                    rng.choice(_TEXTS),
                    chr(rng.randrange(32, 127)),
                    chr(rng.randrange(0x2FFF)),
                    text[at:end],
                    str(rng.choice(_NUMBERS + _LARGE)),
                    rng.choice(("9" * 5000, "[" * 1200)) if rng.random() < 0.05 else "",
                    rng.choice("[]{}()\"'=:,#%@/\\ \n\t-._"),
                )
            )
            end = rng.choice((at, at + 1, end))
            text = text[:at] + put + text[end:]
        data = text.encode("utf-8", "replace")
        return self._bytes(data) if rng.random() < 0.1 else data

    def _bytes(self, data: bytes) -> bytes:
        rng = self._rng
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            size = len(out)
            at = rng.randrange(size) if size else 0
            move = rng.randrange(10)
            if move == 0 and size:
                out[at] ^= 1 << rng.randrange(8)
            elif move == 1 and size:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xC0, 0xC1, 0xFE, 0xFF, rng.randrange(256)))
            elif move == 2:
                del out[at : at + rng.choice((1, 2, 4, 16))]
            elif move == 3:
                out[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))
            elif move == 4:
                del out[at:]
            elif move == 5:
                out += rng.randbytes(rng.choice((1, 1, 8, 64)))
            elif move == 6:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice(_NUMBERS + _LARGE) % (1 << (8 * width))
                out[at : at + width] = number.to_bytes(width, "big")
            elif move == 7:
                other = rng.choice(self._seeds)
                cut = rng.randrange(len(other)) if other else 0
                out[at:] = other[cut:]
            elif move == 8:
                out[at:at] = out[at : at + rng.choice((1, 8, 32))]
            else:
                out[at:at] = rng.choice(_RAW)
        return bytes(out) if rng.random() > 0.02 else rng.randbytes(rng.randrange(64))

    def _structured(self) -> bytes:
        value = self._rng.choice(self._values)
        for _ in range(self._rng.choice((1, 1, 2))):
            value = self._changed(value, 0)
        return _packed(value)

    def _changed(self, value: Any, depth: int) -> Any:
        """One place of it is another; the rest is shared with the original."""
        rng = self._rng
        inner = isinstance(value, list | dict) and value and depth < 8
        if inner and rng.random() < 0.85:
            return self._inside(value, depth)
        if isinstance(value, bytes) and value and rng.random() < 0.6:
            nested = _value_of(value) if len(value) > 8 else _NONE
            if isinstance(nested, list | dict) and rng.random() < 0.8:
                return _packed(self._changed(nested, depth + 1))
            return self._bytes(value)
        if type(value) is int and rng.random() < 0.5:
            return min(max(value + rng.choice((-1, 1, 2, -256, 2**32)), -(2**63)), 2**64 - 1)
        if isinstance(value, str) and value and rng.random() < 0.4:
            at = rng.randrange(len(value))
            return value[:at] + rng.choice(_TEXTS) + value[at + rng.randrange(2) :]
        return self._anything()

    def _inside(self, value: Any, depth: int) -> Any:
        rng = self._rng
        if isinstance(value, list):
            copy, at = list(value), rng.randrange(len(value))
            move = rng.randrange(8)
            if move == 0:
                del copy[at]
            elif move == 1:
                copy.insert(at, copy[rng.randrange(len(copy))])
            elif move == 2:
                copy.append(self._anything())
            elif move == 3:
                other = rng.randrange(len(copy))
                copy[at], copy[other] = copy[other], copy[at]
            else:
                copy[at] = self._changed(copy[at], depth + 1)
            return copy
        copy_, key = dict(value), rng.choice(list(value))
        move = rng.randrange(8)
        if move == 0:
            del copy_[key]
        elif move == 1:
            copy_[rng.choice(_NUMBERS + _TEXTS)] = self._anything()
        elif move == 2:
            copy_[rng.choice(list(value))] = copy_[key]
        else:
            copy_[key] = self._changed(copy_[key], depth + 1)
        return copy_

    def _anything(self) -> Any:
        rng = self._rng
        return rng.choice(
            (
                None,
                True,
                False,
                rng.choice(_NUMBERS),
                rng.choice(_LARGE),
                rng.choice((0.0, 1.5, float("nan"), float("inf"), -1e308)),
                rng.choice(_TEXTS),
                rng.randbytes(rng.choice((0, 1, 16, 32, 33, 64))),
                [],
                {},
                [0] * 20,
                [[[[]]]],
                {"a": 1},
                {1: b""},
                msgpack.ExtType(5, b"x"),
                msgpack.Timestamp(1, 0),
            )
        )


_NONE = object()


def _value_of(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return _NONE


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def as_payload(value: object) -> bytes:
    """A seed for a harness that takes the value in a payload."""
    return _packed(value)
