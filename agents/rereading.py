"""What people have changed in the home of a node that is up: taken in without a restart.

`conclave root learn` writes `roots`, `conclave issuer install` writes `issuer.key`, `issuer.chain`
and perhaps `chain`. Their times are looked at every two seconds; what is read is verified as at a
start. A sealed key is opened with the passphrase of a credential or a file; where only a person
can say it, the node waits for one who does (`conclave issuer open`, `open_issuer`).

What this module does not know: what follows for the other parts of the node.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from agents.errors import BadSettings
from agents.passphrases import passphrase
from agents.root_news import RootNews
from agents.settings import load_settings
from keys import (
    CertificateRefused,
    KeysError,
    Keystore,
    NotTheIssuer,
    PassphraseNeeded,
    decode_line,
    read_file,
)
from keys.safekeeping import forbid_core_dumps

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

log = logging.getLogger("conclave.agents.rereading")

LOOK_S: Final = 2.0
MAX_LINE_BYTES: Final = 64 * 1024
DAY_MS: Final = 86_400_000
ROOTS: Final = "roots"
ISSUER: Final = ("issuer.key", "issuer.chain")

_Mark = tuple[int, int] | None


class Rereading:
    """
    Attributes:
        roots: news of roots; what a home is taught goes that way too.
    """

    def __init__(self, node: NodeParts) -> None:
        self._peer = node.peer
        self._keystore = node.keystore
        self._issuing = (node.renewing, node.trusting, node.auditing)
        self.roots = RootNews(node.peer)
        self.roots.on_learned = node.auditing.root_learned
        self._marks = {name: self._mark(name) for name in (ROOTS, *ISSUER)}
        self._running: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()  # opening takes memory on purpose

    def start(self) -> None:
        """Look now and then, until closed."""
        self._running = asyncio.get_running_loop().create_task(self._keep_looking())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.roots.close()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Take in what is other than it was."""
        now = {name: self._mark(name) for name in (ROOTS, *ISSUER)}
        changed = {name for name, mark in now.items() if mark != self._marks[name]}
        self._marks = now
        try:
            if ROOTS in changed:
                self._read_roots()
            if changed.intersection(ISSUER) and all(now[name] is not None for name in ISSUER):
                await self._read_issuer(passphrase())
        except PassphraseNeeded as error:
            log.warning("%s is sealed: `conclave issuer open` asks for the passphrase", error.path)
        except (KeysError, BadSettings) as error:
            log.error("what changed in %s is not taken in: %s", self._keystore.home, error)

    def _mark(self, name: str) -> _Mark:
        try:
            found = os.stat(self._keystore.home / name)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _read_roots(self) -> None:
        data = read_file(self._keystore.home / ROOTS, MAX_LINE_BYTES)
        if data is not None:
            self.roots.learn(decode_line(data), "this home")

    async def open_issuer(self, given: str | None) -> str:
        """Take in the issuer's key of this home with what a person has typed; its name.

        Raises:
            NotTheIssuer: there is none.
            KeystoreError: it is sealed with another passphrase, or cannot be read.
        """
        if given is not None:
            forbid_core_dumps()
        self._marks |= {name: self._mark(name) for name in ISSUER}
        await self._read_issuer(given)
        issuer = self._keystore.issuer
        if issuer is None:
            raise NotTheIssuer("issuing")
        return issuer.chain.leaf.name

    async def _read_issuer(self, given: str | None) -> None:
        """
        Raises:
            PassphraseNeeded: the key is sealed and nobody has said it.
            KeystoreError
        """
        home, loop = self._keystore.home, asyncio.get_running_loop()
        async with self._one_at_a_time:
            opened = await loop.run_in_executor(None, Keystore.open, home, given)
        if opened.issuer is None:
            return
        seen = opened.trust.seen
        if seen is not None and seen.number:
            self.roots.learn(seen.roots, "this home")
        opened.issuer.certificate_ms = load_settings(home, {}).certificate_days * DAY_MS
        self._keystore.take_issuer(opened)
        self._peer.gathering.issue(opened.issuer)
        for part in self._issuing:
            part.issue()
        log.warning("this node issues now, as %s", opened.issuer.chain.leaf.name)
        if opened.chain.rotations > self._keystore.chain.rotations:
            try:
                self._keystore.replace_chain(opened.chain)
                self._peer.adopt_chain(opened.chain)
            except CertificateRefused as error:
                log.error("our own certificate under the new root is not shown: %s", error)
