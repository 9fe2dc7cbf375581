"""A node's certificate, renewed while it runs; and at an issuer, the renewals that others ask for.

    due: two thirds into its life, or a newer root is known
      -> ask: our own issuer's key, or peers, known issuers first
    granted -> written down -> shown to everybody (`Peer.adopt_chain`); nothing is cut
    not granted -> asked again, the sooner the less is left; the doctor says why

A member that is no issuer does not serve the method, and says so at once: that is how issuers are
found. An issuer whose clock is far from everybody else's issues nothing.

What this module does not know: what makes a request good (`keys.issuing`), revocation, printing.

Invariant: what is shown to others is on the disk already, so that a crash between the two loses
nothing; what an issuer gives is in its book already.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from agents.errors import NotRenewed
from keys import (
    Chain,
    GrantRefused,
    KeysError,
    Keystore,
    KeystoreError,
    PeerId,
    Permission,
    accept_renewal,
    leave_root_at_ms,
    make_renewal_request,
    renew_at_ms,
)
from p2p import (
    Incoming,
    NoSuchMethod,
    P2PError,
    PayloadError,
    Peer,
    World,
    decode_payload,
    encode_payload,
)

if TYPE_CHECKING:
    from keys.issuing import Issuer

log = logging.getLogger("conclave.agents.renewing")

RENEW: Final = "trust.renew"
ASK_TIMEOUT_S: Final = 3.0
LONGEST_PAUSE_MS: Final = 3_600_000
SHORTEST_PAUSE_MS: Final = 1_000
LOOK_AGAIN_MS: Final = 15_000
SAME_REQUEST_MS: Final = 60_000
MAX_RENEWALS: Final = 16  # at once, at an issuer
CLOCK_LIMIT_MS: Final = 300_000
_GRANTED, _REFUSED = "granted", "refused"


class Renewing:
    """The papers of one node.

    Attributes:
        problem: why the last attempt failed, or None.
        counts: attempts and what came of them.
    """

    def __init__(self, peer: Peer, keystore: Keystore, world: World) -> None:
        self._peer = peer
        self._keystore = keystore
        self._world = world
        self._issuers: list[PeerId] = []  # who has granted before, the latest first
        self._request: tuple[int, bytes] | None = None  # when it was made, and its bytes
        self._failures = 0
        self._running: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._issuing = asyncio.Lock()  # the book of one key is read, changed and written
        # Hears whose certificate was renewed or not, how that ended and why.
        self.on_renewal: Callable[[PeerId, str, str], None] = lambda who, outcome, why: None
        self.problem: str | None = None
        self.counts: Counter[str] = Counter()
        self._serves = False
        self.issue()

    def issue(self) -> None:
        """Renew for others from now on, if this node has an issuer's key."""
        issuer = self._keystore.issuer
        if issuer is None:
            return
        issuer.why_unable = self._clock_problem
        if not self._serves:
            self._serves, member = True, Permission.MEMBERSHIP
            self._peer.serve(RENEW, self._on_renew, permission=member, limit=MAX_RENEWALS)

    def start(self) -> None:
        """Renew in time, until closed."""
        self._running = asyncio.get_running_loop().create_task(self._keep_renewed())

    async def close(self) -> None:
        """Stop."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    @property
    def due_ms(self) -> int:
        """When the next renewal is due, in Unix milliseconds."""
        chain = self._keystore.chain
        due_ms, leave_ms = renew_at_ms(chain.leaf), leave_root_at_ms(chain, self._keystore.trust)
        return due_ms if leave_ms is None else min(due_ms, leave_ms)

    async def renew(self) -> Chain:
        """Renew now and return what is shown from now on.

        Raises:
            NotRenewed: nobody granted it, with each one's reason.
        """
        async with self._one_at_a_time:
            self.counts["renewals_tried"] += 1
            try:
                chain = await self._ask_all()
            except NotRenewed as error:
                self._failures += 1
                self.counts["renewals_failed"] += 1
                self.problem = str(error)
                raise
            self._request = None
            self._failures = 0
            self.problem = None
            self.counts["renewals"] += 1
            log.info("our certificate is renewed", extra={"until_ms": chain.leaf.not_after_ms})
            return chain

    async def _keep_renewed(self) -> None:
        while True:
            wait_ms = self.due_ms - self._world.clock.wall_ms()
            if wait_ms > 0:
                # In steps, for clocks are set and newer roots are seen while we wait.
                await self._sleep(min(wait_ms, LOOK_AGAIN_MS))
                continue
            try:
                await self.renew()
            except NotRenewed as error:
                log.warning("%s", error)
                await self._sleep(self._pause_ms())
            except KeystoreError as error:
                self.problem = f"the renewed certificate cannot be kept: {error}"
                log.error("%s", self.problem)
                await self._sleep(self._pause_ms())

    async def _sleep(self, pause_ms: float) -> None:
        await asyncio.sleep(max(pause_ms, SHORTEST_PAUSE_MS / 10) / 1000)

    def _pause_ms(self) -> float:
        """Short at first; never so long that few attempts are left; jitter, so no herd forms."""
        left_ms = self._keystore.chain.leaf.not_after_ms - self._world.clock.wall_ms()
        doubled_ms = SHORTEST_PAUSE_MS << min(self._failures, 12)
        longest_ms = max(SHORTEST_PAUSE_MS, min(LONGEST_PAUSE_MS, left_ms / 20))
        return min(doubled_ms, longest_ms) * self._world.rng.uniform(0.5, 1.0)

    # -- asking --------------------------------------------------------------------------------

    async def _ask_all(self) -> Chain:
        refusals: list[str] = []
        if self._keystore.issuer is not None:
            try:
                answer = await self._issue(self._keystore.issuer, self._make_request())
                return self._adopt(answer)
            except KeystoreError:
                raise
            except KeysError as error:
                refusals.append(f"this node's own issuer: {error}")
        for peer_id in self._candidates():
            try:
                chain = await self._ask(peer_id)
            except NoSuchMethod:
                continue
            except (P2PError, GrantRefused) as error:
                refusals.append(f"{self._peer.label(peer_id)}: {error}")
                continue
            self._issuers = [peer_id, *(one for one in self._issuers if one != peer_id)]
            return chain
        raise NotRenewed(tuple(refusals))

    def _candidates(self) -> list[PeerId]:
        present = list(self._peer.presence.present())
        self._world.rng.shuffle(present)
        known = [one for one in self._issuers if one in present]
        return known + [one for one in present if one not in known]

    def _make_request(self) -> bytes:
        """The same for a while: when an answer is lost, no second certificate is made."""
        now_ms = self._world.clock.wall_ms()
        if self._request is None or abs(now_ms - self._request[0]) > SAME_REQUEST_MS:
            store = self._keystore
            self._request = (now_ms, make_renewal_request(store.identity, store.chain, now_ms))
        return self._request[1]

    async def _ask(self, peer_id: PeerId) -> Chain:
        """
        Raises:
            NoSuchMethod: it is no issuer.
            P2PError: it did not answer.
            GrantRefused: it refuses, or what it gives is no good.
        """
        payload = encode_payload(self._make_request())
        said = decode_payload(
            await self._peer.request(peer_id, RENEW, payload, timeout_s=ASK_TIMEOUT_S)
        )
        match said:
            case [str() as word, bytes() as answer] if word == _GRANTED:
                return self._adopt(answer)
            case [str() as word, str() as why] if word == _REFUSED:
                raise GrantRefused(why)
            case _:
                raise GrantRefused("the answer cannot be read")

    def _adopt(self, answer: bytes) -> Chain:
        store, now_ms = self._keystore, self._world.clock.wall_ms()
        chain = accept_renewal(answer, store.chain, self._peer.trust, now_ms)
        has_newer_root = chain.rotations > store.chain.rotations
        by_age = renew_at_ms(store.chain.leaf) <= now_ms
        if leave_root_at_ms(chain, store.trust) is not None and not (has_newer_root or by_age):
            raise GrantRefused(
                "it is of a root that has a successor, and so is the one that we have: that issuer "
                "needs a certificate of the new root"
            )
        if chain.leaf.not_after_ms <= store.chain.leaf.not_after_ms and not has_newer_root:
            raise GrantRefused(
                "it ends no later than the one that we have: the issuer's own certificate ends "
                "then, and only the root's key can renew that"
            )
        store.replace_chain(chain)
        self._peer.adopt_chain(chain)
        self.on_renewal(self._peer.peer_id, "ok", "")
        return chain

    # -- issuing -------------------------------------------------------------------------------

    async def _on_renew(self, incoming: Incoming, payload: bytes) -> bytes:
        issuer = self._keystore.issuer
        assert issuer is not None, "served by issuers only"
        try:
            request = decode_payload(payload)
            if type(request) is not bytes:
                raise PayloadError("the request for renewal is not bytes")
            answer = await self._issue(issuer, request)
        except (KeysError, PayloadError) as error:
            self.counts["renewals_refused"] += 1
            caller = incoming.caller.name
            log.warning("%s is not renewed: %s", caller, error, extra={"peer": caller})
            self.on_renewal(incoming.caller.peer_id, "refused", type(error).__name__)
            return encode_payload([_REFUSED, str(error)])
        self.counts["renewals_granted"] += 1
        self.on_renewal(incoming.caller.peer_id, "granted", "")
        return encode_payload([_GRANTED, answer])

    async def _issue(self, issuer: Issuer, request: bytes) -> bytes:
        """Off the loop: the book is written with fsync."""
        loop = asyncio.get_running_loop()
        now_ms = self._world.clock.wall_ms()
        async with self._issuing:
            return await loop.run_in_executor(None, issuer.renew, request, now_ms)

    def _clock_problem(self) -> str | None:
        offset_ms = self._peer.presence.clock_offset_ms
        if offset_ms is None or abs(offset_ms) <= CLOCK_LIMIT_MS:
            return None
        direction = "behind" if offset_ms > 0 else "ahead of"
        return (
            f"this issuer's clock is {abs(offset_ms) / 1000:,.0f} s {direction} the median of its "
            "peers' clocks; set the clock that is wrong"
        )
