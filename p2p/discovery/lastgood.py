"""The peers last met, kept in one small file, so that a restart needs neither mDNS nor seeds.

Hints only: every one of them still has to pass the door's handshake. Therefore damage is never
an error: a file that cannot be read is an empty list and a warning in words. Writing is
atomic (temporary file, fsync, rename), so that a crash leaves the old list or the new one.

Does not know the network, and reads no clock. Calls block for as long as a small file takes.

Format: JSON, `{"format": "conclave-peers 1", "peers": [{"peer_id", "hosts", "port", "met_ms"}]}`,
most recently met first.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from keys import PeerId
from p2p.discovery.addresses import is_dialable, is_port, looks_like_peer_id

FORMAT = "conclave-peers 1"
MAX_FILE_BYTES = 256 * 1024
MAX_HOSTS = 8

_WORTH_WRITING_MS = 3_600_000  # meeting a peer again is written once an hour


@dataclass(frozen=True, slots=True)
class GoodPeer:
    """A peer whose door let us in; `met_ms` is Unix time."""

    peer_id: PeerId
    hosts: tuple[str, ...]  # best first
    port: int  # of its door
    met_ms: int


class LastGoodPeers:
    """The list in memory and its file. `warning` says what was wrong with the file, if anything."""

    def __init__(self, path: Path, *, limit: int = 64) -> None:
        self._path = path
        self._limit = limit
        self._peers: dict[PeerId, GoodPeer] = {}
        self._is_dirty = False
        self.warning: str | None = None

    @property
    def peers(self) -> tuple[GoodPeer, ...]:
        """Most recently met first."""
        newest_first = sorted(self._peers.values(), key=lambda peer: -peer.met_ms)
        return tuple(newest_first)

    def load(self) -> tuple[GoodPeer, ...]:
        """Read the file; missing or damaged means empty. See `warning`."""
        self.warning = None
        self._peers = {peer.peer_id: peer for peer in reversed(self._read())}
        self._cut()
        self._is_dirty = False
        return self.peers

    def note(self, peer_id: PeerId, hosts: Sequence[str], port: int, met_ms: int) -> None:
        """Remember that this peer was met there. Nothing is written before `save`."""
        usable = tuple(host for host in hosts if is_dialable(host))[:MAX_HOSTS]
        if not usable or not is_port(port):
            return
        before = self._peers.get(peer_id)
        self._peers[peer_id] = GoodPeer(peer_id, usable, port, met_ms)
        self._cut()
        if (
            before is None
            or (before.hosts, before.port) != (usable, port)
            or met_ms - before.met_ms >= _WORTH_WRITING_MS
        ):
            self._is_dirty = True

    def forget(self, peer_id: PeerId) -> None:
        """Drop a peer that may not come back: revoked, or of another network."""
        self._is_dirty |= self._peers.pop(peer_id, None) is not None

    def save(self) -> bool:
        """Write what changed. False, and a `warning`, when the disk refuses; nothing is lost."""
        if not self._is_dirty:
            return True
        peers = [asdict(peer) for peer in self.peers]
        text = json.dumps({"format": FORMAT, "peers": peers}, indent=1) + "\n"
        try:
            _replace(self._path, text.encode())
        except OSError as error:
            self.warning = f"cannot write {self._path}: {error.strerror or error}"
            return False
        self._is_dirty = False
        return True

    def _cut(self) -> None:
        for peer in self.peers[self._limit :]:
            del self._peers[peer.peer_id]

    def _read(self) -> list[GoodPeer]:
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            self.warning = f"cannot read {self._path}: {error.strerror or error}"
            return []
        if len(raw) > MAX_FILE_BYTES:
            self.warning = f"{self._path} is over {MAX_FILE_BYTES:,} bytes; starting without it"
            return []
        return self._parse(raw)

    def _parse(self, raw: bytes) -> list[GoodPeer]:
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            self.warning = f"{self._path} is damaged; starting without it"
            return []
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            self.warning = f"{self._path} is not of format {FORMAT!r}; starting without it"
            return []
        entries = content.get("peers")
        entries = entries if isinstance(entries, list) else []
        good = [peer for peer in map(_peer_from, entries) if peer is not None]
        if len(good) < len(entries):
            self.warning = f"{self._path}: skipped {len(entries) - len(good)} damaged entries"
        return good


def _peer_from(entry: object) -> GoodPeer | None:
    if not isinstance(entry, dict):
        return None
    peer_id, hosts = entry.get("peer_id"), entry.get("hosts")
    port, met_ms = entry.get("port"), entry.get("met_ms")
    if not (isinstance(peer_id, str) and looks_like_peer_id(peer_id)):
        return None
    if type(port) is not int or not is_port(port) or type(met_ms) is not int:
        return None
    if not isinstance(hosts, list) or not hosts:
        return None
    if not all(isinstance(host, str) and is_dialable(host) for host in hosts):
        return None
    return GoodPeer(PeerId(peer_id), tuple(hosts[:MAX_HOSTS]), port, met_ms)


def _replace(path: Path, content: bytes) -> None:
    """Put the content at `path` so that a crash leaves the old file or the new one, whole."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp made it 0600
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
