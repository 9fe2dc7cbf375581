"""Running a node in the foreground until Ctrl-C: `conclave up` and `agent.run()`.

What this module does not know: arguments of the command line, how agents are found in files.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from agents.bringing_up import node_at
from agents.errors import AgentsError
from agents.hosting import Offer
from agents.node import Node
from agents.observe import logging_to, one_line
from agents.settings import home_at, load_settings
from agents.supervising import REVOKED_STATUS, supervisor
from consensus import ConsensusError
from keys import CertificateRevoked, KeysError
from p2p import P2PError, PayloadError

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0005

# What is somebody's fault and not a bug: told in one line, without a traceback.
EXPECTED = (AgentsError, P2PError, PayloadError, KeysError, ConsensusError, OSError)


def told(error: Exception) -> str:
    """Return the one line in which a person hears of an expected error."""
    return f"conclave: {one_line(str(error))}"


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the quickest loop there is."""
    # The log's disk thread needs the interpreter for microseconds at a time; with the usual switch
    # interval of 5 ms a busy loop would make each of its steps wait that long.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if sys.platform == "win32":
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(main)
    import uvloop

    return uvloop.run(main)


def run_agents(offers: Iterable[Offer], *, home: str | Path | None = None, **settings: Any) -> None:
    """Bring up a node with these agents and serve until Ctrl-C.

    Exits with 1 on an error, and with 77 when this node was revoked: nothing here mends that.

    Args:
        home: the node's directory; default: `CONCLAVE_HOME` or `~/.conclave`.
        settings: as `conclave up --help` lists them.
    """
    place = home_at(home)
    offers = tuple(offers)
    try:
        level = load_settings(place, settings)
        with logging_to(level=level.log_level, style=level.log_style):
            run_loop(serve(place, offers, settings, lambda node: _greet(node, offers)))
    except CertificateRevoked as error:
        sys.stderr.write(f"{told(error)}\n")
        sys.exit(REVOKED_STATUS)
    except EXPECTED as error:
        sys.exit(told(error))


async def serve(
    home: Path, offers: Iterable[Offer], settings: dict[str, Any], greet: Callable[[Node], None]
) -> None:
    """Run the node until a signal asks it to stop.

    Raises:
        Exception: what stopped the node, if it was not asked to.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    above = supervisor()
    if above is not None:
        above.when_gone(stop.set)
    async with node_at(home, offers, settings, supervised=above is not None) as node:
        greet(node)
        if above is not None:
            above.say_up()
        gc.freeze()  # what start-up made lives as long as the node; collections skip it
        stopping = asyncio.ensure_future(stop.wait())
        failing = asyncio.ensure_future(node.until_failed())
        await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if failing.done():
            raise failing.result()
        failing.cancel()


def _greet(node: Node, offers: tuple[Offer, ...]) -> None:
    genesis = node.keystore.genesis
    names = ", ".join(offer.name for offer in offers) or "no agents"
    sys.stderr.write(
        f"{node.peer.label(node.peer.peer_id)} is up in {genesis.network_name} "
        f"with {names}; door at port {node.peer.ports['door']}. Ctrl-C leaves.\n"
    )
