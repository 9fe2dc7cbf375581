"""Keeps one outgoing connection to one peer's port: which address, how long, when again.

Addresses are tried in order, one at a time, each with a fresh socket; after a whole round it waits
with jitter, longer each time. Only IP addresses are dialled: a name in a signed record would make
libzmq ask the DNS from its one I/O thread and hold up every connection of the node.

A single refusal is not news: the other side may be about to put our key on its list. The second
in a row is reported, once, and the dialler goes on trying slowly.

Does not know: lanes, frames, when to give up; its owner stops it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import zmq

from keys import TransportKey
from p2p.links import Contact
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Dial, Exchange

_REFUSALS_BEFORE_NEWS = 2
_STABLE_S = 1.0  # a connection that lived shorter counts as a failed attempt
_MIN_ATTEMPT_S = 0.25
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class Aim(NamedTuple):
    """Whom to dial, at which of its ports, and as whom."""

    contact: Contact
    own_key: TransportKey
    port_name: str

    @property
    def server_key(self) -> bytes:
        return self.contact.curve_public

    @property
    def endpoints(self) -> Sequence[str]:
        """Made whenever they are asked for, since most peers are dialled once at most."""
        return endpoints_of(self.contact, self.port_name)

    def fits(self, dial: Dial) -> bool:
        """Whether that connection is under these keys."""
        return dial.server_key == self.server_key and dial.own_public == self.own_key.public


class Manner(NamedTuple):
    """How all that are of one kind are dialled, held once.

    Attributes:
        kind: of socket.
        longest_pause_ms: between two rounds.
        bulk: on the bulk lane.
        prepare: runs on each new socket before anything is read from it.
    """

    exchange: Exchange
    counters: TransportCounters
    kind: int
    longest_pause_ms: int
    bulk: bool = False
    prepare: Callable[[zmq.Socket[bytes]], None] | None = None


class DiallerOwner(Protocol):
    def dialler_up(self, dial: Dial) -> None:
        """There is a connection."""

    def dialler_lost(self, dial: Dial, reason: str) -> None:
        """The connection that was up is gone; the dialler has stopped."""

    def dialler_refused(self, reason: str) -> None:
        """The other side does not know our key; the dialler goes on."""

    def dialler_message(self, dial: Dial) -> None:
        """Read one message."""


class Dialler:
    """Idle until `start`. `dial` is the connection while it is up, `why` the last failure."""

    __slots__ = (
        "_aim",
        "_dial",
        "_failures",
        "_manner",
        "_next",
        "_owner",
        "_refusals",
        "_timer",
        "_up_since_s",
        "active",
        "why",
    )

    def __init__(self, manner: Manner, owner: DiallerOwner) -> None:
        self._manner = manner
        self._owner = owner
        self._aim: Aim | None = None
        self._dial: Dial | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0
        self._failures = 0
        self._refusals = 0
        self._up_since_s = 0.0
        self.active = False
        self.why = "never tried"

    @property
    def dial(self) -> Dial | None:
        return self._dial if self._dial is not None and self._dial.up else None

    @property
    def socket(self) -> zmq.Socket[bytes] | None:
        """The socket at work, connected or not yet."""
        return self._dial.socket if self._dial is not None else None

    def target(self, aim: Aim) -> None:
        """Whom to dial from now on. A connection that no longer fits is closed; attempts under
        way begin afresh. Call `start` again after it."""
        dial, self._aim = self.dial, aim
        if dial is not None and dial.endpoint in aim.endpoints and aim.fits(dial):
            return
        self.stop()
        self._next = self._failures = self._refusals = 0

    def start(self, after_s: float = 0.0) -> None:
        """Dial until stopped, `after_s` from now at the earliest. Harmless when it is at it
        already."""
        if not self.active:
            self.active = True
            self._refusals = 0
            self._schedule(max(after_s, self._pause_s() if self._failures else 0.0))

    def stop(self, linger_ms: int = 0) -> None:
        self.active = False
        self._cancel_timer()
        if self._dial is not None:
            self._dial.close(linger_ms)
            self._dial = None
            self._up_since_s = 0.0

    def release(self) -> Dial | None:
        """Give away the connection that is up; it is no business of ours any more."""
        dial = self.dial
        if dial is not None:
            self._dial = None
            self._up_since_s = 0.0
            self.active = False
        return dial

    def dial_up(self, dial: Dial) -> None:
        self._cancel_timer()
        self._refusals = 0
        self._up_since_s = self._manner.exchange.loop.time()
        self._owner.dialler_up(dial)

    def dial_ended(self, dial: Dial, reason: str, refused: bool) -> None:
        if dial is not self._dial:
            return
        self._cancel_timer()
        was_up, self._dial = self._up_since_s > 0.0, None
        self.why = f"{dial.endpoint}: {reason}"
        if was_up:
            stable = self._manner.exchange.loop.time() - self._up_since_s >= _STABLE_S
            self._up_since_s = 0.0
            self._failures = 0 if stable else self._failures + 1
            self.active = False
            self._manner.counters.links_lost += 1
            self._owner.dialler_lost(dial, self.why)
        elif refused:
            self._refused()
        else:
            self._failed()

    def dial_message(self, dial: Dial) -> None:
        self._owner.dialler_message(dial)

    def _attempt(self) -> None:
        self._timer = None
        aim = self._aim
        endpoints = aim.endpoints if aim is not None else ()
        if aim is None or not endpoints:
            self.why = "no address of it is known"
            self._failed()
            return
        endpoint = endpoints[self._next % len(endpoints)]
        manner = self._manner
        manner.counters.dials += 1
        self._up_since_s = 0.0
        try:
            dial = Dial(
                manner.exchange,
                manner.kind,
                endpoint,
                aim.server_key,
                self,
                aim.own_key,
                bulk=manner.bulk,
            )
        except zmq.ZMQError as error:  # out of descriptors, or an address libzmq cannot parse
            self.why = f"{endpoint}: {error}"
            self._failed()
            return
        self._dial = dial
        if manner.prepare is not None:
            manner.prepare(dial.socket)
        each_s = manner.exchange.settings.connect_timeout_ms / 1000 / len(endpoints)
        self._timer = manner.exchange.loop.call_later(
            max(_MIN_ATTEMPT_S, each_s), self._timed_out, dial
        )

    def _timed_out(self, dial: Dial) -> None:
        dial.close()
        self.dial_ended(dial, "no answer", False)

    def _refused(self) -> None:
        self._manner.counters.dials_refused += 1
        self._refusals += 1
        self._failures += 1
        self._schedule(self._pause_s())
        if self._refusals == _REFUSALS_BEFORE_NEWS:
            self._owner.dialler_refused(self.why)

    def _failed(self) -> None:
        self._manner.counters.dials_failed += 1
        self._refusals = 0
        self._next += 1
        endpoints = self._aim.endpoints if self._aim is not None else ()
        if endpoints and self._next % len(endpoints):
            self._schedule(0.0)
            return
        self._failures += 1
        self._schedule(self._pause_s())

    def _pause_s(self) -> float:
        """Doubles with every failure; jitter, so that no herd forms."""
        exchange, longest_ms = self._manner.exchange, self._manner.longest_pause_ms
        doubled_ms = exchange.settings.redial_min_ms << min(self._failures, 16)
        return exchange.rng.uniform(0.5, 1.0) * min(doubled_ms, longest_ms) / 1000

    def _schedule(self, delay_s: float) -> None:
        self._cancel_timer()
        if self.active:
            self._timer = self._manner.exchange.loop.call_later(delay_s, self._attempt)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def endpoints_of(contact: Contact, port_name: str) -> list[str]:
    """The addresses to dial, best first; none where it has no such port."""
    port = contact.ports.get(port_name, 0)
    if not 0 < port < 65_536:
        return []
    endpoints = (f"tcp://{host}:{port}" for host in map(_literal, contact.hosts) if host)
    return list(dict.fromkeys(endpoints))


def unfit_hosts(contact: Contact) -> int:
    """How many of its addresses cannot be dialled."""
    return sum(_literal(host) is None for host in contact.hosts)


def _literal(host: str) -> str | None:
    """An IP address as ZeroMQ writes it; None for anything else."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    address, _, scope = bare.partition("%")
    if scope and not _SCOPE.fullmatch(scope):
        return None
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return None
    return f"[{bare}]" if version == 6 else bare
