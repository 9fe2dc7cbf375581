"""`connect()`: a program's way into the network.

Where a node runs on this machine, the program attaches to it. Where none does, but the directory is
a member's, the program becomes the node for as long as it is connected.

What this module does not know: agents of the program; `agents.running` hosts those.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agents.bringing_up import node_at
from agents.errors import NodeNotUp
from agents.local import attach
from agents.net import Net
from agents.settings import home_at


@contextlib.asynccontextmanager
async def connect(home: str | Path | None = None, **settings: Any) -> AsyncIterator[Net]:
    """Enter the network: `async with connect() as net`.

    Args:
        home: the node's directory; default: `CONCLAVE_HOME` or `~/.conclave`.
        settings: as for `conclave up`, used only when no node runs there.

    Raises:
        NoNetworkYet: the directory belongs to no network; the text says how to make or join one.
        NodeNotUp: the node that ran there went away.
    """
    place = home_at(home)
    async with contextlib.AsyncExitStack() as stack:
        try:
            net = await stack.enter_async_context(attached(place))
        except NodeNotUp:
            node = await stack.enter_async_context(node_at(place, (), settings))
            net = node.net
        yield net


@contextlib.asynccontextmanager
async def attached(home: Path) -> AsyncIterator[Net]:
    """Attach to the node that runs in this directory.

    Raises:
        NodeNotUp: none runs there.
    """
    gate = await attach(home)
    try:
        who = await gate.request("whoami", {})
        yield Net(gate, who["name"], who["peer"])
    finally:
        await gate.close()
