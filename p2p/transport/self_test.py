"""Proves again and again that a stranger is refused at every port of ours.

ZeroMQ's authentication fails open, so a mistake in its set-up is silent: everything works, for
everybody. The test dials each port with a key that was made a moment ago. Refused is right; let in
is fatal; no answer lets nobody in either, but is no healthy node, so that several in a row are
fatal too.

Does not know: peers, what to do about a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum

import zmq

from keys import TransportKey
from p2p.errors import TransportFailed
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Dial, Exchange
from p2p.transport.zap import ZapHandler

_UNANSWERED_BEFORE_FATAL = 3
_UNANSWERED_AT_START = 6  # many nodes that begin on one machine take the processor from each other
_TICK_S = 0.1


class Verdict(Enum):
    REFUSED = "refused"
    LET_IN = "let in"
    UNANSWERED = "unanswered"


class SelfTest:
    """`run` is one test of all ports; `prove` is for the start, `watch` repeats it for ever."""

    def __init__(
        self,
        exchange: Exchange,
        counters: TransportCounters,
        zap: ZapHandler,
        server_key: bytes,
        ports: Mapping[str, int],
    ) -> None:
        self._exchange = exchange
        self._counters = counters
        self._zap = zap
        self.aim(server_key, ports)

    def aim(self, server_key: bytes, ports: Mapping[str, int]) -> None:
        """Test these from now on."""
        self._server_key = server_key
        self._ports = ports

    async def run(self) -> Verdict:
        """The worst verdict of all ports."""
        stranger = TransportKey.generate()
        self._zap.expect_probes(frozenset((stranger.public,)))
        verdicts = await asyncio.gather(
            *(self._probe(name, port, stranger) for name, port in self._ports.items())
        )
        for worst in (Verdict.LET_IN, Verdict.UNANSWERED):
            if worst in verdicts:
                return worst
        self._counters.self_tests_passed += 1
        return Verdict.REFUSED

    async def prove(self) -> TransportFailed | None:
        """What keeps a node from starting, or None. A busy machine may miss an answer or two."""
        for unanswered in range(1, _UNANSWERED_AT_START):
            verdict = await self.run()
            if verdict is not Verdict.UNANSWERED:
                return judge(verdict, unanswered, _UNANSWERED_AT_START)
        return judge(await self.run(), _UNANSWERED_AT_START, _UNANSWERED_AT_START)

    async def watch(self, on_fatal: Callable[[TransportFailed], None]) -> None:
        """Test at every interval; returns after the first fatal finding."""
        unanswered = 0
        while True:
            await asyncio.sleep(self._exchange.settings.self_test_interval_ms / 1000)
            if not self._zap.alive:
                on_fatal(
                    TransportFailed("the thread that lets peers in has died; restart the node")
                )
                return
            verdict = await self.run()
            unanswered = unanswered + 1 if verdict is Verdict.UNANSWERED else 0
            self._counters.self_tests_unanswered += verdict is Verdict.UNANSWERED
            failure = judge(verdict, unanswered, _UNANSWERED_BEFORE_FATAL)
            if failure is not None:
                on_fatal(failure)
                return

    async def _probe(self, port_name: str, port: int, stranger: TransportKey) -> Verdict:
        kind = zmq.SUB if port_name == "topics" else zmq.DEALER
        probe = _Probe(self._exchange.loop)
        address = f"tcp://{_own_address(self._exchange.settings.host)}:{port}"
        try:
            dial = Dial(self._exchange, kind, address, self._server_key, probe, stranger)
        except zmq.ZMQError:  # out of descriptors
            return Verdict.UNANSWERED
        try:
            return await self._settled(probe.verdict)
        finally:
            dial.close()

    async def _settled(self, verdict: asyncio.Future[Verdict]) -> Verdict:
        """Wait, in ticks: of a loop that comes late to each of them, the answers come late too."""
        ticks = self._exchange.settings.self_test_timeout_ms / 1000 / _TICK_S
        for _ in range(max(1, round(ticks))):
            await asyncio.wait((verdict,), timeout=_TICK_S)
            if verdict.done():
                return verdict.result()
        return Verdict.UNANSWERED


def judge(verdict: Verdict, unanswered: int, patience: int) -> TransportFailed | None:
    """What a verdict means; `unanswered` counts those in a row, this one included."""
    if verdict is Verdict.LET_IN:
        return TransportFailed(
            "a key that nobody knows was let in at one of our ports; they are closed now. "
            "Do not go on with this installation of libzmq: run `conclave doctor`"
        )
    if verdict is Verdict.UNANSWERED and unanswered >= patience:
        return TransportFailed(
            "our own ports do not answer the self-test, so nobody can get in; restart the node"
        )
    return None


class _Probe:
    """Listens to one dial and keeps its outcome."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.verdict: asyncio.Future[Verdict] = loop.create_future()

    def dial_up(self, dial: Dial) -> None:
        self._settle(Verdict.LET_IN)

    def dial_ended(self, dial: Dial, reason: str, refused: bool) -> None:
        self._settle(Verdict.REFUSED if refused else Verdict.UNANSWERED)

    def dial_message(self, dial: Dial) -> None:
        dial.socket.recv(zmq.NOBLOCK, copy=False)

    def _settle(self, verdict: Verdict) -> None:
        if not self.verdict.done():
            self.verdict.set_result(verdict)


def _own_address(host: str) -> str:
    if host in ("0.0.0.0", "127.0.0.1"):
        return "127.0.0.1"
    if host in ("::", "[::]"):
        return "[::1]"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
