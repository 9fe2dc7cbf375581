"""The network's policy on one node: decided by the leader, followed by all, kept on disk.

    policy set -> the leader reads it, asks whether the asker may, and puts it into the store
               -> every node hears of it by a watch, writes it down, then puts it in force

A policy is known by the log's generation and the index of its entry; an older one never replaces a
newer one, whoever tells of it. What cannot be read here, because a newer program wrote it, allows
nothing until the node is upgraded: a rule that is not understood might be a deny.

Written down before it is in force, so that a node that starts alone obeys what it knew. Where it
cannot be written (a full disk) it is in force all the same, and an error says so.

Whoever would take the right to change the policy from himself has to insist. If nobody has it any
more: a person on the machine of a voter notes there, while it is down, that the policy shall go,
and the leader takes the voter's word when it is up. A voter could do as much by leading.

What this module does not know: rules, roles, files' names, command lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from agents.errors import AgentsError, PolicyRefused
from agents.hosting import from_bytes, to_bytes
from agents.kept_by_log import LOOK_S, KeptByLog, Row, accepted, read_answer, refused
from agents.tasking import Asking, wire
from consensus.kv import delete, encode, encode_put
from keys import NOTHING, POLICY_KEY, Action, KeysError, Permission, Policy, PolicyInvalid
from keys.policies import Held, Place, PolicyStore, parse_policy
from p2p import Incoming, P2PError, PayloadError, Peer, PermissionDenied

if TYPE_CHECKING:
    from agents.keeping import Keeping
    from agents.quorum import Quorum

log = logging.getLogger("conclave.agents.policing")

SET: Final = "policy.set"
RESET: Final = "policy.reset"
RECOVER: Final = "policy.recover"
WHAT: Final = "policy"  # as what it is configured
ASK_S: Final = 10.0


class Policing:
    """
    Args:
        store: where policies lie on this machine.
    """

    def __init__(
        self, peer: Peer, quorum: Quorum, asking: Asking, keeping: Keeping, store: PolicyStore
    ) -> None:
        self._peer = peer
        self._guard = peer.guard
        self._quorum = quorum
        self._asking = asking
        self._kept = KeptByLog(peer, quorum, asking, keeping, POLICY_KEY, self)
        self.store = store
        self.held: Held | None = None
        self._recovering: asyncio.Task[None] | None = None
        peer.serve(SET, self._on_set, permission=Permission.CONFIG_CHANGE)
        peer.serve(RESET, self._on_reset, permission=Permission.CONFIG_CHANGE)
        peer.serve(RECOVER, self._on_recover, permission=Permission.CONSENSUS)

    def load(self) -> None:
        """Put in force what this machine knows, before anybody is met.

        Raises:
            PolicyInvalid, KeystoreError: nobody can say what shall be allowed.
        """
        self._guard.set_file(self.store.own())
        self.held = self.store.replicated()
        if self.held is not None:
            self._guard.set_replicated(_policy_of(self.held.text))

    def start(self) -> None:
        """Begin to follow what the network decides."""
        self._kept.start()
        place = self.store.recovery()
        if place is not None:
            self._recovering = asyncio.get_running_loop().create_task(self._recover(place))

    async def close(self) -> None:
        await self._kept.close()
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.gather(self._recovering, return_exceptions=True)

    # -- who wants a change --------------------------------------------------------------------

    async def set(self, text: str, *, is_forced: bool) -> int:
        """Have a policy decided, and return the index of its entry; it is in force here then.

        Raises:
            PolicyInvalid: it is none.
            PolicyRefused: it would lock us out, and was not insisted on.
            PermissionDenied, NoQuorum: it is as it was.
            OutcomeUnknown.
        """
        parse_policy(text)
        return await self._ask(SET, [text, is_forced])

    async def reset(self) -> int:
        """Have the network be without a policy.

        Raises:
            PermissionDenied, NoQuorum, OutcomeUnknown.
        """
        return await self._ask(RESET, [])

    async def _ask(self, method: str, value: list[Any]) -> int:
        why, index = await self._kept.ask(method, value)
        if why is not None:
            raise PolicyRefused(why)
        return index

    async def _recover(self, place: Place) -> None:
        value = [place.generation, place.index]
        while True:
            try:
                why, _ = read_answer(await self._asking.ask(RECOVER, value, ASK_S))
            except PermissionDenied as error:
                why = str(error)
            except (AgentsError, P2PError) as error:
                log.warning("the policy is not gone yet: %s", error)
                await asyncio.sleep(LOOK_S)
                continue
            if why is not None:
                log.error("the policy is not reset: %s", why)
            self.store.forget_recovery()
            return

    # -- on the leader -------------------------------------------------------------------------

    async def _on_set(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._kept.not_leader()
        self._peer.check(incoming.caller, Action.CONFIGURE, WHAT)
        fields = wire.read_list(payload, 2)
        if not fields or not isinstance(fields[0], str):
            return refused("it is malformed")
        text, is_forced = fields
        try:
            policy = parse_policy(text)
        except PolicyInvalid as error:
            return refused(str(error))
        who = incoming.caller
        if not policy.allows(who, Action.CONFIGURE, WHAT) and is_forced is not True:
            said = f"after that {who.name} could not change the policy any more"
            return refused(f"{said}: allow it to configure {WHAT!r}, or insist (--force)")
        return await self._decide(who.name, encode_put(POLICY_KEY, to_bytes(text)), text)

    async def _on_reset(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._kept.not_leader()
        self._peer.check(incoming.caller, Action.CONFIGURE, WHAT)
        return await self._decide(incoming.caller.name, encode(delete(POLICY_KEY)), None)

    async def _on_recover(self, incoming: Incoming, payload: bytes) -> bytes:
        who, fields = incoming.caller, wire.read_list(payload, 2)
        if not self._quorum.is_voter(who.peer_id):
            self._guard.deny(who, Action.CONFIGURE, WHAT, "role")
            said = f"{who.name} does not vote: do it on the machine of a voter"
            raise PermissionDenied(self._peer.name, "reset the policy", said)
        if not self._quorum.leads:
            return self._kept.not_leader()
        entry = self._quorum.kv.get(POLICY_KEY)
        if entry is None:
            return accepted(0)
        if len(fields) != 2 or [type(n) for n in fields] != [int, int]:
            return refused("it is malformed")
        generation, index = fields
        if entry.version > index or generation != self._kept.generation:
            return refused("another one was decided since; look at it, and reset it again")
        return await self._decide(who.name, encode(delete(POLICY_KEY)), None)

    async def _decide(self, who: str, command: bytes, text: str | None) -> bytes:
        decision = await self._kept.decide(command)
        if decision.entry is not None:
            done = "reset" if text is None else "set"
            log.warning("the network's policy is %s by %s", done, who)
            self._take(Held(Place(self._kept.generation, decision.entry), text))
        return decision.answer

    # -- following -----------------------------------------------------------------------------

    def replace(self, rows: Iterable[Row], place: Place) -> None:
        """What the log says of the policy: the text, or that there is none."""
        held = Held(place, None)
        for row in rows:
            if row.key == POLICY_KEY:
                held = Held(row.place, _text_of(row.value))
        self._take(held)

    def change(self, row: Row) -> None:
        """Another policy was decided, or none."""
        if row.key == POLICY_KEY:
            self._take(Held(row.place, _text_of(row.value)))

    def _take(self, held: Held) -> None:
        """Write down what was decided, and put it in force, unless something later is known."""
        before = self.held
        if before is not None and held.place <= before.place:
            return
        self.held = held
        known = before.text if before is not None else None
        if known is None and held.text is None:
            return
        try:
            self.store.save(held)
        except KeysError as error:
            log.error("the policy is in force, but a restart would not know it: %s", error)
        if known == held.text:
            return
        self._guard.set_replicated(_policy_of(held.text))
        log.info("the network's policy has changed", extra={"entry": held.place.index})


def _policy_of(text: str | None) -> Policy | None:
    if text is None:
        return None
    try:
        return parse_policy(text, "the network's policy")
    except PolicyInvalid as error:
        log.error("nothing is allowed, for this node must be upgraded: %s", error)
        return NOTHING


def _text_of(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        text = from_bytes(value)
    except PayloadError:
        text = None
    return text if isinstance(text, str) else ""  # which is no policy, and so allows nothing
