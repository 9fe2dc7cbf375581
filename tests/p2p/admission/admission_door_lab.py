"""A real door on the loopback, its owner, and those who knock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

from admission_lab import network, seeded

from p2p.admission import Credentials, Door, DoorSettings, Session, SessionTable, introduce
from p2p.admission.frames import FrameReader
from p2p.admission.messages import Message, decode

NET = network()
QUIET = DoorSettings(host="127.0.0.1", port=0, deadline_s=5.0)


def run(body: Coroutine[object, object, None]) -> None:
    """Under a deadline, and with every fault that only the loop saw made into a failure."""
    faults: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(str(context)))
        async with asyncio.timeout(15):
            await body

    asyncio.run(main())
    assert faults == []


def pass_time(seconds: float) -> None:
    """The loop's clock goes on by so much, and what is due by then comes at its next turn."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]


class Host:
    """A door, its table, and what its owner was told."""

    def __init__(
        self, settings: DoorSettings = QUIET, credentials: Credentials | None = None
    ) -> None:
        self.sessions = SessionTable()
        self.admitted: list[Session] = []
        self.refused: list[str] = []
        self.changed = asyncio.Event()
        self.door = Door(
            settings,
            credentials if credentials is not None else NET.member(10),
            self.sessions,
            on_session=self.on_session,
            on_refused=lambda host, refusal: self.on_refused(refusal.code.value),
        )

    def on_session(self, session: Session) -> None:
        self.sessions.admit(session)
        self.admitted.append(session)
        self.changed.set()

    def on_refused(self, code: str) -> None:
        self.refused.append(code)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a refusal, an admission or the loop brings about."""
        while not condition():
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await self.changed.wait()

    async def until_empty(self) -> None:
        await self.until(lambda: self.door.counters()["open"] == 0)
        self.door.check_invariants()


async def knock(
    port: int,
    member: Credentials,
    sessions: SessionTable | None = None,
    host: str = "127.0.0.1",
) -> Session:
    return await introduce(host, port, member, timeout_s=5, sessions=sessions)


async def say(port: int, data: bytes, *, then_read: bool = True) -> bytes:
    """Write, and read until the door ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(data)
        await writer.drain()
        if then_read:
            answer = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return answer


def messages_in(data: bytes) -> list[Message]:
    reader = FrameReader()
    reader.feed(data)
    found = []
    while (body := reader.next_body()) is not None:
        found.append(decode(body))
    return found


def with_host(
    test: Callable[[Host], Awaitable[None]],
    settings: DoorSettings = QUIET,
    credentials: Credentials | None = None,
) -> None:
    async def main() -> None:
        host = Host(settings, credentials)
        async with host.door:
            await test(host)
            # Whatever came, an honest member still gets in.
            await knock(host.door.port, NET.member(42))
            await host.until_empty()
            assert host.admitted[-1].peer_id == seeded(42).peer_id

    run(main())
