"""Revoking at work on one node: signs, asks other issuers to sign, keeps its own list fresh.

A key may hold certificates of several issuers, since renewals go to whoever is there; each issuer's
list can take back only what it gave itself. So every issuer that is present is asked, and who asks
needs the permission to revoke. A list is made anew every day while its issuer's node is up.

Order: an issuer's new list is durable before it is in force or sent (`p2p.trusting`), and it is in
force here before the asker hears of it.

What this module does not know: command lines, how lists spread, who is cut how.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agents.errors import NotRevoked
from agents.revoking import Known, Wish, known_of, together
from keys import (
    CertificateRefused,
    CertificateRevoked,
    Entry,
    EntryKind,
    InvalidValue,
    KeysError,
    Keystore,
    ListInForce,
    PeerId,
    Permission,
    RevocationRefused,
    Role,
    decode_id,
    read_list,
    verify_issuer,
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

log = logging.getLogger("conclave.agents.trusting")

REVOKE = "trust.revoke"
ASK_S = 5.0
LOOK_S = 600.0
ANEW_MS = 86_400_000
_REVOKED, _REFUSED = "revoked", "refused"


class Trusting:
    """What is revoked, as this node has it, and its part in revoking."""

    def __init__(self, peer: Peer, keystore: Keystore, world: World) -> None:
        self._peer = peer
        self._keystore = keystore
        self._clock = world.clock
        self._running: asyncio.Task[None] | None = None
        peer.trusting.on_conflict = self._on_conflict
        self._serves = False
        self.issue()

    def issue(self) -> None:
        """Revoke for others from now on, if this node has an issuer's key."""
        if self._keystore.issuer is not None and not self._serves:
            self._serves = True
            self._peer.serve(REVOKE, self._on_revoke, permission=Permission.CERT_REVOKE)

    def start(self) -> None:
        """Keep our own list fresh, until closed."""
        self._running = asyncio.get_running_loop().create_task(self._keep_fresh())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    # -- who is known --------------------------------------------------------------------------

    def known(self) -> list[Known]:
        """Who could be meant: whom this node has issued certificates, and who is here."""
        issuer = self._keystore.issuer
        issued = known_of(issuer.issued) if issuer is not None else []
        return together(issued, self._here())

    def _here(self) -> Iterable[Known]:
        own = self._peer.principal
        members = (self._peer.member(peer_id) for peer_id in self._peer.presence.present())
        for principal in (own, *(each for each in members if each is not None)):
            serials = frozenset({principal.serial})
            yield Known(
                principal.peer_id, principal.name, principal.roles, principal.namespaces, serials
            )

    def is_revoked(self, peer_id: PeerId) -> bool:
        """Whether this peer is gone for good."""
        if self._peer.trusting.was_revoked(peer_id):
            return True
        if self._peer.session_of(peer_id) is not None:
            return False
        try:
            self._peer.trusting.revocations.check_key(decode_id(peer_id), peer_id)
        except CertificateRevoked:
            return True
        return False

    # -- revoking ------------------------------------------------------------------------------

    async def revoke(self, wish: Wish) -> list[dict[str, Any]]:
        """Have this revoked by all issuers that are here; who did it, with the number of its list.

        Raises:
            NotRevoked: nobody did, with each one's reason.
        """
        done: list[dict[str, Any]] = []
        refusals: list[str] = []
        # Others first: afterwards it may be ourselves who are revoked.
        if wish.kind is not EntryKind.ALL:
            present = self._peer.presence.present()
            answers = await asyncio.gather(*(self._ask(each, wish) for each in present))
            for peer_id, answer in zip(present, answers, strict=True):
                if isinstance(answer, int):
                    done.append({"issuer": self._peer.label(peer_id), "number": answer})
                elif answer is not None:
                    refusals.append(f"{self._peer.label(peer_id)}: {answer}")
        issuer = self._keystore.issuer
        if issuer is not None:
            try:
                number = self._sign(issuer, [wish.entry(issuer.chain.leaf, self._clock.wall_ms())])
                done.append({"issuer": self._peer.label(self._peer.peer_id), "number": number})
            except (CertificateRefused, RevocationRefused, InvalidValue) as error:
                refusals.append(f"this node: {error}")
        if not done:
            raise NotRevoked(wish.whom.name if wish.whom else "it", tuple(refusals))
        return done

    def load(self, packed: bytes) -> ListInForce:
        """Put a list in force that came by hand, such as the root's, and spread it.

        Raises:
            RevocationRefused: it is none, or not later than what is in force.
            KeystoreError: it could not be kept.
        """
        listed = read_list(packed, self._peer.trust, self._clock.wall_ms())
        self._peer.trusting.take(listed)
        return listed

    def _sign(self, issuer: Issuer, entries: Iterable[Entry]) -> int:
        """
        Raises:
            CertificateRefused: this issuer's own certificate is not good now.
            RevocationRefused, KeystoreError: the list is full, or cannot be kept.
        """
        now_ms = self._clock.wall_ms()
        verify_issuer(issuer.chain, self._peer.trust, now_ms)
        listed = issuer.revoke(self._peer.trusting.revocations, entries, now_ms)
        self._peer.trusting.take(listed)
        return listed.list.sequence

    async def _ask(self, peer_id: PeerId, wish: Wish) -> int | str | None:
        """The number of its list, why not, or None when it is no issuer."""
        payload = encode_payload(wish.to_wire())
        try:
            said = decode_payload(
                await self._peer.request(peer_id, REVOKE, payload, timeout_s=ASK_S)
            )
        except NoSuchMethod:
            return None
        except (P2PError, PayloadError) as error:
            return str(error)
        match said:
            case [str() as word, int() as number, *_] if word == _REVOKED:
                return number
            case [str() as word, str() as why, *_] if word == _REFUSED:
                return why[:400]
        return "it answered something else"

    async def _on_revoke(self, incoming: Incoming, payload: bytes) -> bytes:
        issuer = self._keystore.issuer
        assert issuer is not None, "only issuers serve it"
        wish = Wish.from_wire(decode_payload(payload))
        if wish is None:
            return encode_payload([_REFUSED, "the request cannot be read"])
        why = self._why_not(incoming, wish)
        if why is None:
            try:
                now_ms = self._clock.wall_ms()
                number = self._sign(issuer, [wish.entry(issuer.chain.leaf, now_ms)])
            except KeysError as error:
                why = str(error)
            else:
                who = incoming.caller.name
                log.warning("revoked as %s asked", who, extra={"peer": incoming.caller.peer_id})
                return encode_payload([_REVOKED, number])
        return encode_payload([_REFUSED, why])

    def _why_not(self, incoming: Incoming, wish: Wish) -> str | None:
        """Nobody takes back what is above them: only admins revoke admins, and who is limited to
        namespaces revokes only those who are in these alone."""
        whom = self._meant(wish)
        caller = incoming.caller
        if wish.kind is EntryKind.SERIAL and whom is None:
            return "it has not issued that certificate"
        if Role.ADMIN in caller.roles:
            return None
        if whom is None:
            return "only an admin revokes a key that nobody knows here"
        if Role.ADMIN in whom.roles:
            return f"{whom.name} is an admin, and only admins revoke admins"
        if not all(caller.may_in(Permission.CERT_REVOKE, each) for each in whom.namespaces):
            return f"{whom.name} is in namespaces that {caller.name} is not in"
        return None

    def _meant(self, wish: Wish) -> Known | None:
        for each in self.known():
            is_key = wish.kind is EntryKind.KEY and decode_id(each.peer_id) == wish.ident
            if is_key or wish.ident in each.serials:
                return each
        return None

    # -- keeping fresh -------------------------------------------------------------------------

    async def _keep_fresh(self) -> None:
        while True:
            self._make_anew()
            await asyncio.sleep(LOOK_S)

    def _make_anew(self, entries: Iterable[Entry] = (), *, at_once: bool = False) -> None:
        issuer = self._keystore.issuer
        if issuer is None:
            return
        ours = self._peer.trusting.revocations.of(issuer.chain.leaf.key_id)
        if ours is None:
            return  # nothing was ever revoked here
        age_ms = self._clock.wall_ms() - ours.list.issued_ms
        if not at_once and 0 <= age_ms < ANEW_MS:
            return
        try:
            self._sign(issuer, entries)
        except KeysError as error:
            log.error("our revocation list is not made anew: %s", error)

    def _on_conflict(self, listed: ListInForce) -> None:
        """Our key has signed another list with this number: the next one has all of both."""
        issuer = self._keystore.issuer
        if issuer is not None and listed.key_id == issuer.chain.leaf.key_id:
            log.error("this issuer's key was used elsewhere, or this directory was restored")
            self._make_anew(listed.list.entries, at_once=True)
