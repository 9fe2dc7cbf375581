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
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from agents.errors import AgentsError, PolicyRefused
from agents.hosting import from_bytes, to_bytes
from agents.replicated import KV_TAG, command_for
from agents.tasking import Asking, wire
from consensus import NotLeader, OutcomeUnknown, ProposalError, Stopped
from consensus.kv import Reply, delete, encode, encode_put
from keys import (
    NOTHING,
    POLICY_KEY,
    Action,
    Held,
    KeysError,
    Permission,
    Place,
    Policy,
    PolicyInvalid,
    PolicyStore,
    parse_policy,
)
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
FOLLOW_S: Final = 3.0
LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.01


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
        self._keeping = keeping
        self.store = store
        self.held: Held | None = None
        self._running: list[asyncio.Task[None]] = []
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
        begin = asyncio.get_running_loop().create_task
        self._running.append(begin(self._follow()))
        place = self.store.recovery()
        if place is not None:
            self._running.append(begin(self._recover(place)))

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

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
        why, index = _pair(await self._asking.ask(method, value, ASK_S))
        if why is not None:
            raise PolicyRefused(why)
        place = Place(self._generation, index)
        for _ in range(round(FOLLOW_S / LOOK_AGAIN_S)):
            if self.held is not None and self.held.place >= place:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        return index

    async def _recover(self, place: Place) -> None:
        value = [place.generation, place.index]
        while True:
            try:
                why, _ = _pair(await self._asking.ask(RECOVER, value, ASK_S))
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
            return self._not_leader()
        self._peer.check(incoming.caller, Action.CONFIGURE, WHAT)
        fields = wire.read_list(payload, 2)
        if not fields or not isinstance(fields[0], str):
            return _refused("it is malformed")
        text, is_forced = fields
        try:
            policy = parse_policy(text)
        except PolicyInvalid as error:
            return _refused(str(error))
        who = incoming.caller
        if not policy.allows(who, Action.CONFIGURE, WHAT) and is_forced is not True:
            said = f"after that {who.name} could not change the policy any more"
            return _refused(f"{said}: allow it to configure {WHAT!r}, or insist (--force)")
        return await self._decide(who.name, encode_put(POLICY_KEY, to_bytes(text)), text)

    async def _on_reset(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._not_leader()
        self._peer.check(incoming.caller, Action.CONFIGURE, WHAT)
        return await self._decide(incoming.caller.name, encode(delete(POLICY_KEY)), None)

    async def _on_recover(self, incoming: Incoming, payload: bytes) -> bytes:
        who, fields = incoming.caller, wire.read_list(payload, 2)
        if not self._quorum.is_voter(who.peer_id):
            self._guard.deny(who, Action.CONFIGURE, WHAT, "role")
            said = f"{who.name} does not vote: do it on the machine of a voter"
            raise PermissionDenied(self._peer.name, "reset the policy", said)
        if not self._quorum.leads:
            return self._not_leader()
        entry = self._quorum.kv.get(POLICY_KEY)
        if entry is None:
            return wire.answer(wire.Tag.OK, [None, 0])
        if len(fields) != 2 or [type(n) for n in fields] != [int, int]:
            return _refused("it is malformed")
        generation, index = fields
        if entry.version > index or generation != self._generation:
            return _refused("another one was decided since; look at it, and reset it again")
        return await self._decide(who.name, encode(delete(POLICY_KEY)), None)

    async def _decide(self, who: str, command: bytes, text: str | None) -> bytes:
        replica = self._quorum.own_replica()
        if replica is None or not self._quorum.leads:
            return self._not_leader()
        try:
            committed = await replica.propose(command_for(KV_TAG, 0, command))
        except NotLeader as error:
            return wire.answer(wire.Tag.NOT_LEADER, error.leader_hint)
        except OutcomeUnknown:
            return wire.answer(wire.Tag.UNDECIDED, False)
        except (ProposalError, Stopped):
            return wire.answer(wire.Tag.BUSY, None)
        reply = committed.result
        assert isinstance(reply, Reply)
        if reply.results and reply.results[0].refusal is not None and text is not None:
            return _refused(f"the store refuses it: {reply.results[0].refusal}")
        log.warning("the network's policy is %s by %s", "reset" if text is None else "set", who)
        self._take(Held(Place(self._generation, reply.log_index), text))
        return wire.answer(wire.Tag.OK, [None, reply.log_index])

    def _not_leader(self) -> bytes:
        hint = self._quorum.leader()
        return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)

    # -- following -----------------------------------------------------------------------------

    @property
    def _generation(self) -> int:
        return self._quorum.electorate.cluster.generation

    async def _follow(self) -> None:
        """Watch; begin again with each new log, in which indexes mean something else."""
        while True:
            generation = self._generation
            watching = asyncio.get_running_loop().create_task(self._watch(generation))
            try:
                while not watching.done() and generation == self._generation:
                    await asyncio.wait((watching,), timeout=LOOK_S)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await asyncio.sleep(LOOK_AGAIN_S if generation != self._generation else LOOK_S)

    async def _watch(self, generation: int) -> None:
        found: Held | None = None
        try:
            async with aclosing(self._keeping.watch(POLICY_KEY, None, is_listed=True)) as items:
                async for item in items:
                    if generation != self._generation:
                        return
                    if item[0] == "changes":
                        for (index, _, key, value), _ in item[1]:
                            if key == POLICY_KEY:
                                self._take(Held(Place(generation, index), _text_of(value)))
                        continue
                    _, as_of, _, rows, is_last = item
                    for key, (value, version, *_) in rows:
                        if key == POLICY_KEY:
                            found = Held(Place(generation, version), _text_of(value))
                    if is_last:
                        self._take(found or Held(Place(generation, as_of), None))
                        found = None
        except (AgentsError, P2PError) as error:
            log.debug("the policy is not followed just now: %s", error)

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


def _refused(why: str) -> bytes:
    return wire.answer(wire.Tag.OK, [why, 0])


def _pair(said: Any) -> tuple[str | None, int]:
    if isinstance(said, list) and len(said) == 2 and type(said[1]) is int:
        return (None if said[0] is None else str(said[0])), said[1]
    return "the leader's answer cannot be read; upgrade it", 0
