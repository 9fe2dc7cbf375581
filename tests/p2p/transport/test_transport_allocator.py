"""When free memory is given back before a connection takes some."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from p2p.transport.allocator import Thrift, give_back

KIB = 1024


class Allocator:
    """One whose trimming takes a known time, and others take as much as they like."""

    def __init__(self, takes_s: float, *, others_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.worked_s = 0.0
        self.takes_s = takes_s
        self.others_s = others_s
        self.trims = 0
        self.thrift = Thrift(self._trim, lambda: self.now_s, lambda: self.worked_s)

    def _trim(self) -> None:
        self.trims += 1
        self.worked_s += self.takes_s
        self.now_s += self.takes_s + self.others_s

    def dial(self, times: int, every_s: float) -> None:
        for _ in range(times):
            self.thrift.save()
            self.now_s += every_s


def test_it_takes_no_more_than_a_two_hundredth_of_the_time_however_many_are_dialled() -> None:
    allocator = Allocator(takes_s=0.0001)
    began_s = allocator.now_s
    allocator.dial(10_000, every_s=0.00001)
    took_s = allocator.now_s - began_s
    assert allocator.trims >= 2
    assert allocator.trims * 0.0001 <= took_s / 200 + 0.0001


def test_those_dialled_now_and_then_each_find_it_done() -> None:
    allocator = Allocator(takes_s=0.0001)
    allocator.dial(50, every_s=0.03)
    assert allocator.trims == 50


def test_a_program_in_which_it_takes_long_is_held_up_once_a_minute() -> None:
    allocator = Allocator(takes_s=0.3)
    allocator.dial(600, every_s=0.1)
    assert allocator.trims == 1
    allocator.now_s += 1
    allocator.dial(1, every_s=0.1)
    assert allocator.trims == 2


def test_what_others_took_meanwhile_does_not_count() -> None:
    allocator = Allocator(takes_s=0.0001, others_s=0.05)
    allocator.dial(50, every_s=0.03)
    assert allocator.trims == 50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's way")
def test_what_was_freed_between_blocks_that_live_goes_back_to_the_system() -> None:
    def resident_kib() -> int:
        status = Path("/proc/self/status").read_text()
        return int(next(each for each in status.splitlines() if each[:6] == "VmRSS:").split()[1])

    blocks = [bytearray(64 * KIB) for _ in range(640)]
    del blocks[::2]
    before_kib = resident_kib()
    give_back()
    assert before_kib - resident_kib() > 320 * 64 * 0.5
    assert len(blocks) == 320
