"""From a directory and settings to a node on the real network.

What this module does not know: command lines; nodes in simulations.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from agents.auditing import AuditSettings
from agents.auditing_offline import open_noted
from agents.doors import remembered_doors
from agents.hosting import Offer
from agents.node import Node
from agents.passphrases import passphrase
from agents.settings import NodeSettings, load_settings
from keys.sealing import NAMES as SUITES
from p2p import LanSettings, LanWorld, Strictness

DAY_MS = 86_400_000


def world_of(home: Path, settings: NodeSettings) -> LanWorld:
    """Return the real world as these settings want it."""
    return LanWorld(
        LanSettings(
            host=settings.host,
            port=settings.port,
            interfaces=settings.interfaces,
            seeds=tuple(dict.fromkeys((*settings.seeds, *remembered_doors(home)))),
            mdns=settings.mdns,
            last_good=home / "peers",
        )
    )


def _in_words(settings: NodeSettings) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(settings).items()}


@contextlib.asynccontextmanager
async def node_at(
    home: Path,
    offers: Iterable[Offer],
    arguments: Mapping[str, Any],
    *,
    supervised: bool = False,
) -> AsyncIterator[Node]:
    """Bring up the node of a directory.

    Raises:
        NoNetworkYet, KeystoreError: the directory is not a node's.
        BadSettings, BadSeed, UnknownInterface: a setting.
        NodeAlreadyUp, PortInUse: something else has its place.
    """
    keystore = open_noted(home, passphrase(home))
    settings = load_settings(home, arguments)
    if keystore.issuer is not None:
        keystore.issuer.certificate_ms = settings.certificate_days * DAY_MS
    audit = AuditSettings(settings.audit, settings.audit_mb, _in_words(settings))
    suite = SUITES[settings.sealing]
    node = Node(
        keystore,
        world_of(home, settings),
        offers,
        audit=audit,
        sealing=suite,
        key_rotation_hours=settings.key_rotation_hours,
        supervised=supervised,
        freshness=Strictness(settings.revocation_freshness),
    )
    if settings.metrics_port is None:
        async with node:
            yield node
        return
    # Imported when wanted: the client library costs 2 MB. Served first: a port that is taken
    # should stop the node before others have met it.
    from agents.observe.metrics import serve_metrics

    with serve_metrics(settings.metrics_host, settings.metrics_port) as metrics:
        async with node:
            metrics.show(node)
            yield node
