"""A peer whose certificate is renewed while it runs: everybody hears of it, nothing is cut."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import WALL_MS, Authority, Lab, in_lab, until

from keys import Permission, Role
from p2p import Incoming, MisuseError, PermissionDenied


async def slow(incoming: Incoming, payload: bytes) -> bytes:
    await asyncio.sleep(2)
    return payload


async def quick(incoming: Incoming, payload: bytes) -> bytes:
    return payload


def test_new_certificates_are_shown_to_all_and_calls_under_way_end_well() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = lab.peer("a"), lab.peer("b")
        b.serve("slow", slow, permission=Permission.CALL)
        await lab.up("a", "b")
        call = asyncio.ensure_future(a.request(b.peer_id, "slow", b"1", timeout_s=5))
        await asyncio.sleep(0.5)
        before = b.session_of(a.peer_id)
        assert before is not None
        a.adopt_chain(lab.authority.renewed(a._own.chain, Role.SERVICE, WALL_MS + 1000))
        serial = a.principal.serial
        assert before.principal.serial != serial

        def known() -> bool:
            session = b.session_of(a.peer_id)
            return session is not None and session.principal.serial == serial

        await until(known, 1.0)
        assert await call == b"1"
        now = b.session_of(a.peer_id)
        assert now is not None
        assert now.curve_public == before.curve_public
        assert now.sequence == before.sequence + 1

    in_lab(scenario)


def test_roles_of_the_new_certificate_count_from_then_on() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = lab.peer("a"), lab.peer("b")
        b.serve("quick", quick, permission=Permission.LOG_READ)
        await lab.up("a", "b")
        with pytest.raises(PermissionDenied):
            await a.request(b.peer_id, "quick", b"", timeout_s=1)
        roles = Role.SERVICE | Role.OBSERVER
        a.adopt_chain(lab.authority.renewed(a._own.chain, roles, WALL_MS + 1000))
        await asyncio.sleep(1)
        assert await a.request(b.peer_id, "quick", b"x", timeout_s=1) == b"x"

    in_lab(scenario)


def test_papers_of_another_peer_are_refused() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        with pytest.raises(MisuseError):
            a.adopt_chain(b._own.chain)

    in_lab(scenario)


def test_a_peer_is_cut_off_at_the_moment_when_its_certificate_is_over() -> None:
    """And not when somebody looks next."""

    async def scenario(lab: Lab) -> None:
        lived_ms = 90 * 86_400_000 - 47_300
        issued_then = Authority(seed=7, wall_ms=WALL_MS - lived_ms)
        issued_then.papers("another")
        a, b = lab.peer("a"), lab.peer("b", papers=issued_then.papers("b"))
        await lab.up("a", "b")
        session = a.session_of(b.peer_id)
        assert session is not None
        over_ms = session.principal.not_after_ms + 120_000
        left_ms = over_ms - a._clock.wall_ms()
        assert 120_000 < left_ms < 170_000
        assert left_ms % 30_000 > 1_000, "not by chance when it would look anyway"
        await asyncio.sleep((left_ms - 5) / 1000)
        assert a.session_of(b.peer_id) is not None
        await asyncio.sleep(0.01)
        assert a.session_of(b.peer_id) is None

    in_lab(scenario)
