"""Keys that change while we run: our own, and those that peers gave up.

Ours: a second endpoint under the new key is bound beside the first and must refuse a stranger
before anybody hears of it. Until the rotation ends there are two keys of ours, and a peer is
dialled under the one that it knows.

A peer's: the key before its present one stays its own for a while, so that what is still under way
is let in and attributed; then it is nobody's.

Does not know: connections, frames, who tells whom about a new key. Invariant: there are never more
than two keys of ours, nor of one peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from keys import PeerId, TransportKey
from p2p.errors import MisuseError, PortInUse, RotationFailed, TransportFailed
from p2p.links import Contact
from p2p.transport.assembly import Assembly
from p2p.transport.dialler import Aim
from p2p.transport.self_test import SelfTest, Verdict, judge

_PORTS_CLOSE_WITHIN_S = 1.0
_TRY_AGAIN_S = 0.02


class OwnKeys:
    """`now`, and while it changes `former`."""

    def __init__(self, key: TransportKey) -> None:
        self.now = key
        self.former: TransportKey | None = None
        self._is_beginning = False
        self._ports_before: Mapping[str, int] = {}

    def are(self, public: bytes) -> bool:
        """Whether this is one of ours."""
        return public in (self.now.public, self.former.public if self.former else None)

    def aim_at(self, contact: Contact, port_name: str) -> Aim:
        """How to dial a peer: with the former key, while that is the one it knows."""
        key, former = self.now, self.former
        if former is not None and contact.knows_key == former.public:
            key = former
        return Aim(contact, key, port_name)

    async def begin(
        self,
        key: TransportKey,
        assembly: Assembly,
        self_test: SelfTest,
        ports_now: Mapping[str, int],
        is_running: Callable[[], bool],
    ) -> Mapping[str, int]:
        """Listen under this key, too; returns the new ports, at which a stranger was refused.

        Raises:
            MisuseError: a rotation is under way.
            RotationFailed: a port is taken or does not answer; nothing has changed then.
            TransportFailed: anybody gets in.
        """
        if self.former is not None or self._is_beginning:
            raise MisuseError("one rotation at a time")
        self._is_beginning = True
        try:
            ports = await _open(assembly, key, is_running)
        finally:
            self._is_beginning = False
        self.now, self.former = key, self.now
        self._ports_before = ports_now
        self_test.aim(key.public, ports)
        try:
            verdict = await self_test.run()
            failure = judge(verdict, unanswered=0, patience=1)
            if failure is not None:
                raise failure
            if verdict is not Verdict.REFUSED:
                raise RotationFailed(f"the new ports {sorted(ports.values())} do not answer")
        except BaseException:  # also when we are cancelled: nothing has changed
            if is_running():
                self.take_back(assembly, self_test)
            self.former = None
            raise
        return ports

    def take_back(self, assembly: Assembly, self_test: SelfTest) -> Mapping[str, int]:
        """Listen as before `begin`; returns the ports. The key that was new is the former one now,
        so what was dialled with it is left one by one, until `end`."""
        if self.former is None:
            raise MisuseError("no rotation is under way")
        self.now, self.former = self.former, self.now
        assembly.take_back(self.now)
        self_test.aim(self.now.public, self._ports_before)
        return self._ports_before

    def end(self) -> bytes | None:
        """Forget the former key; returns its public half, if there was one."""
        former, self.former = self.former, None
        return former.public if former is not None else None


async def _open(
    assembly: Assembly, key: TransportKey, is_running: Callable[[], bool]
) -> Mapping[str, int]:
    """Fixed ports that the last rotation left are closed by another thread, a moment later."""
    loop = asyncio.get_running_loop()
    patient_until_s = loop.time() + _PORTS_CLOSE_WITHIN_S
    while is_running():
        try:
            return assembly.open_beside(key)
        except PortInUse as error:
            if loop.time() > patient_until_s:
                raise RotationFailed(str(error)) from error
        except TransportFailed as error:
            raise RotationFailed(str(error)) from error
        await asyncio.sleep(_TRY_AGAIN_S)
    raise RotationFailed("the node has stopped")


class GivenUpKeys:
    """The user ids under which peers were known before, each for a while."""

    def __init__(self, keep_s: float, on_over: Callable[[PeerId], None]) -> None:
        """`on_over` gets a peer whose time is over; take its user id then."""
        self._keep_s = keep_s
        self._on_over = on_over
        self._kept: dict[PeerId, tuple[str, asyncio.TimerHandle]] = {}

    def keep(self, peer_id: PeerId, user_id: str) -> None:
        assert peer_id not in self._kept, "one at a time: take the one before"
        loop = asyncio.get_running_loop()
        self._kept[peer_id] = (user_id, loop.call_later(self._keep_s, self._on_over, peer_id))

    def of(self, peer_id: PeerId) -> str | None:
        kept = self._kept.get(peer_id)
        return kept[0] if kept is not None else None

    def take(self, peer_id: PeerId) -> str | None:
        """It is over; returns what it was."""
        kept = self._kept.pop(peer_id, None)
        if kept is None:
            return None
        kept[1].cancel()
        return kept[0]

    def clear(self) -> None:
        for peer_id in list(self._kept):
            self.take(peer_id)
