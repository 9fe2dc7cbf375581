"""Joining over TCP with a real data directory at both ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from admission_lab import NOW_MS, seeded
from test_admission_joining import Home

from keys import DoorAddress, Identity, Keystore, Ticket
from p2p.admission import Door, DoorSettings, Hint, JoinFailed, SessionTable, join
from p2p.admission.door import Redeemer

LOCAL = DoorSettings(host="127.0.0.1", port=0)


def run(body: Coroutine[object, object, None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(15):
            await body

    asyncio.run(main())


def door_of(home: Home, *, issuer: Redeemer | None, hints: tuple[Hint, ...] = ()) -> Door:
    return Door(
        LOCAL,
        home.credentials,
        SessionTable(),
        on_session=lambda session: None,
        hints=lambda peer_id: hints,
        issuer=issuer,
    )


def ticket_to(home: Home, *ports: int) -> Ticket:
    return home.issuer.invite(NOW_MS, addresses=[("127.0.0.1", port) for port in ports])


def dead_ports(stack: ExitStack, count: int) -> list[int]:
    """At which nobody listens and nobody will: they are taken."""
    holders = [stack.enter_context(socket.socket()) for _ in range(count)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    return [holder.getsockname()[1] for holder in holders]


async def join_as(seed: int, ticket: Ticket, name: str = "second") -> Keystore | None:
    joined = await join(ticket, seeded(seed), name, timeout_s=5, now_ms=NOW_MS)
    assert joined.chain.leaf.public_key == seeded(seed).public_key
    return None


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_joined_node_has_a_data_directory_that_opens(home: Home, tmp_path: Path) -> None:
    async def main() -> None:
        identity = Identity.generate()
        async with door_of(home, issuer=home.issuer) as door:
            ticket = ticket_to(home, door.port)
            joined = await join(ticket, identity, "second", timeout_s=5, now_ms=NOW_MS)
            assert door.counters()["joined"] == 1
        made = Keystore.create_joined(tmp_path / "second", identity, "second", joined)
        assert made.trust == home.keystore.trust
        assert Keystore.open(tmp_path / "second").principal(NOW_MS).name == "second"

    run(main())


def test_a_ticket_works_for_one_key_and_for_that_key_again(home: Home) -> None:
    async def main() -> None:
        async with door_of(home, issuer=home.issuer) as door:
            ticket = ticket_to(home, door.port)
            first = await join(ticket, seeded(20), "second", timeout_s=5, now_ms=NOW_MS)
            again = await join(ticket, seeded(20), "second", timeout_s=5, now_ms=NOW_MS)
            assert first.chain.encode() == again.chain.encode()
            with pytest.raises(JoinFailed, match="already used") as caught:
                await join_as(21, ticket)
            assert caught.value.reason == "ticket_used"
            assert "conclave invite" in str(caught.value)
            assert door.counters()["refused_ticket_used"] == 1

    run(main())


def test_two_thieves_of_one_ticket_at_once_make_one_member(home: Home) -> None:
    async def main() -> None:
        async with door_of(home, issuer=home.issuer) as door:
            ticket = ticket_to(home, door.port)
            results = await asyncio.gather(
                *(join_as(seed, ticket) for seed in range(20, 30)), return_exceptions=True
            )
            assert sum(each is None for each in results) == 1
            failures = [each for each in results if isinstance(each, JoinFailed)]
            assert {each.reason for each in failures} == {"ticket_used"}
            assert len(failures) == 9

    run(main())


def test_a_wrong_secret_is_refused_and_the_ticket_still_works(home: Home) -> None:
    async def main() -> None:
        async with door_of(home, issuer=home.issuer) as door:
            ticket = ticket_to(home, door.port)
            guess = Ticket.make(
                ticket.network_id,
                ticket.ticket_id,
                bytes(16),
                ticket.expires_s,
                ticket.roles,
                ticket.addresses,
            )
            with pytest.raises(JoinFailed) as caught:
                await join_as(20, guess)
            assert caught.value.reason == "ticket_wrong_secret"
            await join_as(21, ticket)

    run(main())


def test_an_unknown_ticket_is_refused(home: Home) -> None:
    async def main() -> None:
        async with door_of(home, issuer=home.issuer) as door:
            known = ticket_to(home, door.port)
            unknown = Ticket.make(
                known.network_id,
                bytes(8),
                bytes(16),
                known.expires_s,
                known.roles,
                known.addresses,
            )
            with pytest.raises(JoinFailed) as caught:
                await join_as(20, unknown)
            assert caught.value.reason == "ticket_unknown"

    run(main())


def test_a_ticket_that_the_issuers_clock_calls_over_is_refused(home: Home) -> None:
    async def main() -> None:
        async with door_of(home, issuer=home.issuer) as door:
            ticket = home.issuer.invite(
                NOW_MS - 1_000_000, ttl_s=900, addresses=[("127.0.0.1", door.port)]
            )
            # The joiner's clock is behind by less than the skew, so it does not notice itself.
            with pytest.raises(JoinFailed) as caught:
                await join(ticket, seeded(20), "second", timeout_s=5, now_ms=NOW_MS - 100_500)
            assert caught.value.reason == "ticket_expired"
            assert door.counters()["refused_ticket_expired"] == 1

    run(main())


def test_a_ticket_of_another_network_is_refused(home: Home, tmp_path: Path) -> None:
    async def main() -> None:
        other = Home(tmp_path / "other")
        async with door_of(home, issuer=home.issuer) as door:
            with pytest.raises(JoinFailed) as caught:
                await join_as(20, ticket_to(other, door.port))
            assert caught.value.reason == "wrong_network"
            assert caught.value.definite

    run(main())


def test_dead_addresses_in_front_cost_little_and_are_named_when_all_fail(home: Home) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            dead = dead_ports(stack, 3)
            async with door_of(home, issuer=home.issuer) as door:
                await join_as(20, ticket_to(home, *dead, door.port))
            with pytest.raises(JoinFailed) as caught:
                await join_as(21, ticket_to(home, *dead))
        for port in dead:
            assert f"127.0.0.1:{port}" in str(caught.value)
        assert caught.value.definite
        assert "running" in str(caught.value)

    run(main())


def test_a_silent_address_in_front_does_not_hold_up_the_good_one(home: Home) -> None:
    async def main() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(8)
            port = silent.getsockname()[1]
            async with door_of(home, issuer=home.issuer) as door:
                started_s = asyncio.get_running_loop().time()
                await join_as(20, ticket_to(home, port, door.port))
                assert asyncio.get_running_loop().time() - started_s < 3

    run(main())


def test_a_member_without_an_issuer_sends_the_joiner_on(home: Home) -> None:
    async def main() -> None:
        async with door_of(home, issuer=home.issuer) as issuing:
            hint = Hint(home.credentials.peer_id, ("127.0.0.1",), issuing.port)
            async with door_of(home, issuer=None, hints=(hint,)) as plain:
                await join_as(20, ticket_to(home, plain.port))
                assert plain.counters()["refused_not_issuer"] == 1
                assert issuing.counters()["joined"] == 1

    run(main())


def test_a_joiner_follows_hints_up_to_a_bound(home: Home) -> None:
    async def main() -> None:
        peer_id, doors = home.credentials.peer_id, []
        async with AsyncExitStack() as stack:
            [nobody] = dead_ports(stack.enter_context(ExitStack()), 1)
            for block in range(1, 4):
                hosts = [f"127.0.{block}.{last}" for last in range(8)]
                hints = tuple(Hint(peer_id, (host,), nobody) for host in hosts)
                doors.append(door_of(home, issuer=None, hints=hints))
                await stack.enter_async_context(doors[-1])
            with pytest.raises(JoinFailed, match="printed the ticket") as caught:
                await join_as(20, ticket_to(home, *(door.port for door in doors)))
        reasons = [each.reason for each in caught.value.failures]
        assert sorted(reasons) == ["not_issuer"] * 3 + ["unreachable"] * 13

    run(main())


def test_doors_that_send_one_round_in_circles_are_asked_once(home: Home) -> None:
    async def main() -> None:
        hints: list[Hint] = []
        door = Door(
            LOCAL,
            home.credentials,
            SessionTable(),
            on_session=lambda _: None,
            hints=lambda _: hints,
        )
        async with door:
            hints.append(Hint(home.credentials.peer_id, ("127.0.0.1",), door.port))
            with pytest.raises(JoinFailed) as caught:
                await join_as(20, ticket_to(home, door.port))
        assert [each.reason for each in caught.value.failures] == ["not_issuer"]

    run(main())


def test_a_ticket_without_an_address_says_so(home: Home) -> None:
    async def main() -> None:
        with pytest.raises(JoinFailed, match="no address"):
            await join_as(20, ticket_to(home))

    run(main())


class Broken:
    """An issuer whose disk fails."""

    def redeem(self, request: bytes, door_transcript: bytes, now_ms: int) -> bytes:
        raise OSError(28, "No space left on device", "/secret/path")


def test_an_issuer_whose_disk_fails_says_so_without_its_paths(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with door_of(home, issuer=Broken()) as door:
            with pytest.raises(JoinFailed) as caught:
                await join_as(20, ticket_to(home, door.port))
            assert caught.value.reason == "internal"
            assert "/secret/path" not in str(caught.value)
            assert not caught.value.definite, "the use may have been noted before the disk failed"

    run(main())
    assert "No space left" in caplog.text


class Slow:
    """An issuer whose disk takes its time."""

    def __init__(self, issuer: Redeemer) -> None:
        self._issuer = issuer
        self.started, self.may_go_on = threading.Event(), threading.Event()
        self.finished = False

    def redeem(self, request: bytes, door_transcript: bytes, now_ms: int) -> bytes:
        self.started.set()
        assert self.may_go_on.wait(10)
        grant = self._issuer.redeem(request, door_transcript, now_ms)
        self.finished = True
        return grant


def test_a_door_that_closes_lets_a_redemption_reach_the_disk(home: Home) -> None:
    async def main() -> None:
        slow = Slow(home.issuer)
        door = door_of(home, issuer=slow)
        await door.start()
        ticket = ticket_to(home, door.port)
        joining = asyncio.ensure_future(join_as(20, ticket))
        await asyncio.to_thread(slow.started.wait, 10)
        closing = asyncio.ensure_future(door.close())
        with pytest.raises(JoinFailed) as caught:
            await joining
        assert not caught.value.definite, "the answer was lost"
        assert not closing.done()
        slow.may_go_on.set()
        await closing
        assert slow.finished
        # The answer was lost; the ticket was not.
        async with door_of(home, issuer=home.issuer) as again:
            await join_as(20, replace(ticket, addresses=(DoorAddress("127.0.0.1", again.port),)))

    run(main())


def test_the_addresses_of_a_ticket_are_pairs(home: Home) -> None:
    assert ticket_to(home, 4747).addresses == (DoorAddress("127.0.0.1", 4747),)
