"""Clusters on the node that leads the log: it takes leases, and has the rosters decided.

    hold    -> the lease goes into the log, then the roster if there is none, then the answer
    release -> the lease goes out of the log, then the roster if it was the last one
    a tick, a peer that comes, goes or changes -> what the core says is due

The lease is in the log before the roster that it asks for. A leader that dies in between leaves a
lease without a roster, and whoever leads next forms it. Every roster is written on condition that
it is still the version that was looked at, so a leader that was deposed without knowing changes
nothing. One cluster is looked at by one step at a time.

Who leads a cluster is decided by a lock in whose name only its members may claim; what this module
writes down of it is for those who look, the lock's token is what counts.

What this module does not know: who fits, what members and users do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from agents.auditing import Audit
from agents.auditing_kinds import Kind
from agents.clusters.core import (
    Candidate,
    Candidates,
    Change,
    ClusterCore,
    best_first,
    merged,
    that_fit,
)
from agents.clusters.fitting import GRACE_MS, Fitting
from agents.clusters.model import (
    LEADER,
    LEASE,
    MAX_CLUSTERS,
    MAX_LEASES,
    MAX_LEASES_OF_PEER,
    ROSTER,
    Lead,
    LeaseName,
    Need,
    Roster,
    decode_lead,
    decode_need,
    decode_roster,
    encode_lead,
    encode_need,
    encode_roster,
    lease_of,
    mark_problem,
    name_problem,
)
from agents.clusters.wire import (
    EXPLAIN,
    HOLD,
    RELEASE,
    TooFew,
    Wish,
    candidate_row,
    read_wish,
    too_few,
)
from agents.kept_by_log import KeptByLog, accepted, refused
from agents.tasking import wire
from consensus.kv import Operation, compare_set, delete, encode, encode_batch, put
from keys import Action, PeerId, Permission, Principal
from p2p import Incoming, Peer, PermissionDenied, World

if TYPE_CHECKING:
    from agents.quorum import Quorum

log = logging.getLogger("conclave.agents.clusters")

TICK_S: Final = 0.25
IDLE_S: Final = 1.0
LOOK_MS: Final = 2_000  # so seldom what has not changed is judged anew: time alone can be a reason
SHOWN: Final = 32  # of each kind, of those who fit and do not


class ClusterLeading:
    """Looks after all clusters while this node leads."""

    def __init__(
        self,
        peer: Peer,
        world: World,
        quorum: Quorum,
        kept: KeptByLog,
        fitting: Fitting,
        audit: Audit,
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._quorum = quorum
        self._kept = kept
        self._fitting = fitting
        self._audit = audit
        self._core = ClusterCore()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._leads_since_ms: int | None = None
        self._woken = asyncio.Event()
        self._seen = 0  # how often somebody came, went, or changed
        self._quiet: dict[str, tuple[object, int]] = {}  # what nothing was due for, and when
        self._looking: asyncio.Task[None] | None = None
        peer.serve(HOLD, self._on_hold, permission=Permission.STORE_WRITE)
        peer.serve(RELEASE, self._on_release, permission=Permission.STORE_WRITE)
        peer.serve(EXPLAIN, self._on_explain, permission=Permission.STATUS_READ)

    def start(self) -> None:
        """Begin to look after them, whenever this node leads."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def wake(self) -> None:
        """Somebody came, went, or offers something else."""
        self._seen += 1
        self._woken.set()

    def may_lead(self, who: Principal, lock: str, is_wanted: bool) -> None:
        """The rule of the locks: members claim and keep them, whoever may lock may look.

        Raises:
            PermissionDenied.
        """
        name = lock.removeprefix(LEADER)
        self._peer.check(who, Action.LOCK, name)
        if not is_wanted or not self._quorum.leads:
            return  # one that does not lead decides nothing
        roster, _ = self._roster(name)
        if roster is None or who.peer_id not in roster.members:
            self._peer.guard.deny(who, Action.LOCK, lock, "roster")
            said = f"{who.name} is not in the cluster {name[:64]!r}"
            raise PermissionDenied(self._peer.name, f"lead the cluster {name[:64]!r}", said)

    # -- what is asked -------------------------------------------------------------------------

    async def _on_hold(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._kept.not_leader()
        wish, who = read_wish(payload), incoming.caller
        if isinstance(wish, str):
            return refused(wish)
        self._peer.check(who, Action.CALL, wish.need.capability)
        self._peer.check(who, Action.LOCK, wish.name)
        async with self._lock(wish.name):
            return await self._held(who, wish)

    async def _held(self, who: Principal, wish: Wish) -> bytes:
        name, need = wish.name, wish.need
        lease = LeaseName(name, who.peer_id, wish.mark)
        is_known = self._quorum.kv.get(lease.key) is not None
        roster, _ = self._roster(name)
        why = self._no_room(lease, roster, is_known=is_known) or _other_purpose(name, need, roster)
        if why:
            return refused(why)
        candidates = self._candidates(name, need.capability, roster)
        if not (is_known and roster is not None) and len(that_fit(candidates)) < need.min_size:
            return too_few(_explained(self._candidates(name, need.capability, roster, all_=True)))
        op = put(lease.key, encode_need(need), ttl_ms=wish.lease_ms)
        decision = await self._kept.decide(encode(op))
        if decision.entry is None:
            return decision.answer
        await self._step(name, by=who.name)
        return accepted(self._roster(name)[1] or 0)

    async def _on_release(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._kept.not_leader()
        fields = wire.read_list(payload, 2)
        if [type(each) for each in fields] != [str, str]:
            return refused("it is malformed")
        name, mark = fields
        problem = name_problem(name) or mark_problem(mark)
        if problem:
            return refused(problem)
        async with self._lock(name):
            lease = LeaseName(name, incoming.caller.peer_id, mark)
            decision = await self._kept.decide(encode(delete(lease.key)))
            if decision.entry is not None:
                await self._step(name, by=incoming.caller.name)
            return decision.answer

    async def _on_explain(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._kept.not_leader()
        fields = wire.read_list(payload, 1)
        name = fields[0] if fields and isinstance(fields[0], str) else ""
        roster, _ = self._roster(name)
        if roster is None:
            return wire.answer(wire.Tag.OK, [])
        members = roster.members
        everybody = self._candidates(name, roster.capability, roster, all_=True)
        found = best_first(everybody.values())
        rows = [candidate_row(one, is_member=one.peer in members) for one in found[: 8 * SHOWN]]
        return wire.answer(wire.Tag.OK, rows)

    def _no_room(self, lease: LeaseName, roster: Roster | None, *, is_known: bool) -> str:
        kv = self._quorum.kv
        if roster is None and len(kv.list(ROSTER, limit=MAX_CLUSTERS)) >= MAX_CLUSTERS:
            return f"there are {MAX_CLUSTERS} clusters already"
        prefix = f"{LEASE}{lease.cluster}/"
        if not is_known and len(kv.list(prefix, limit=MAX_LEASES)) >= MAX_LEASES:
            return f"{MAX_LEASES} programs use it already"
        own = f"{prefix}{lease.peer}/"
        if not is_known and len(kv.list(own, limit=MAX_LEASES_OF_PEER)) >= MAX_LEASES_OF_PEER:
            return f"{MAX_LEASES_OF_PEER} programs of this node use it already"
        return ""

    # -- what is due ---------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            names = self._names() if self._leads() else ()
            self._core.forget(names)
            self._quiet = {name: each for name, each in self._quiet.items() if name in names}
            self._woken.clear()
            for name in names:
                await self._looked_at(name)
            try:
                async with asyncio.timeout(TICK_S if names else IDLE_S):
                    await self._woken.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(0.01)  # what comes together is looked at together

    async def _looked_at(self, name: str) -> None:
        try:
            async with self._lock(name):
                await self._step(name)
        except Exception as error:  # noqa: BLE001 - it must not keep us from the others
            log.error("the cluster %s cannot be looked after: %r", name, error)

    def _leads(self) -> bool:
        if not self._quorum.leads:
            self._leads_since_ms = None
        elif self._leads_since_ms is None:
            self._leads_since_ms = self._clock.now_ms()
        return self._leads_since_ms is not None

    def _names(self) -> tuple[str, ...]:
        """Every cluster that is or is wanted."""
        kv = self._quorum.kv
        rosters = kv.list(ROSTER, limit=2 * MAX_CLUSTERS)
        leads = kv.list(LEADER, limit=2 * MAX_CLUSTERS)
        leases = map(lease_of, (each.key for each in kv.list(LEASE, limit=100_000)))
        wanted = {lease.cluster for lease in leases if lease is not None}
        wanted |= {each.key.removeprefix(ROSTER) for each in rosters}
        wanted |= {each.key.removeprefix(LEADER) for each in leads}
        return tuple(sorted(wanted))

    async def _step(self, name: str, *, by: str = "") -> int | None:
        """Have decided what is due for one cluster, under its lock; return the entry, if any."""
        if not self._leads():
            return None
        roster, version = self._roster(name)
        if roster is None and version is not None:
            return None  # a newer program wrote it: not ours to touch
        leases, lead = self._leases(name), self._granted(name, roster)
        change = self._due(name, leases, roster, version, lead)
        if change is not None:
            return await self._decide(name, roster, version, change, by)
        if roster is not None and self._told(name) != lead:
            await self._kept.decide(encode(put(LEADER + name, encode_lead(lead))))
        elif roster is None and self._quorum.kv.get(LEADER + name) is not None:
            await self._kept.decide(encode(delete(LEADER + name)))  # one that came late
        return None

    def _due(
        self, name: str, leases: list[Need], roster: Roster | None, version: int | None, lead: Lead
    ) -> Change | None:
        """What the core says. Where nothing is another than at the last look, it is not asked for
        a while: to judge everybody who offers something costs more than all the rest."""
        now_ms, seen = self._clock.now_ms(), (self._seen, version, tuple(leases), lead.peer)
        before, looked_ms = self._quiet.get(name, (None, 0))
        if before == seen and now_ms - looked_ms < LOOK_MS:
            return None
        need = merged(leases, roster.capability if roster is not None else None)
        capability = need.capability if need is not None else ""
        candidates = self._candidates(name, capability, roster) if need is not None else {}
        wall_ms = self._clock.wall_ms()
        change = self._core.step(name, leases, roster, lead.peer, candidates, now_ms, wall_ms)
        if change is None:
            self._quiet[name] = (seen, now_ms)
        else:
            self._quiet.pop(name, None)
        return change

    async def _decide(
        self, name: str, before: Roster | None, version: int | None, change: Change, by: str
    ) -> int | None:
        ops: list[Operation]
        if change.roster is None:
            ops = [delete(ROSTER + name, version=version), delete(LEADER + name)]
        else:
            ops = [compare_set(ROSTER + name, version, encode_roster(change.roster))]
        decision = await self._kept.decide(encode_batch(ops))
        if decision.entry is None:
            log.debug("the cluster %s is left as it is", name)  # the next look sees why
            return None
        after = change.roster
        why = after.why if after is not None else "nobody uses it any more"
        log.info("cluster %s: %s", name, why, extra={"entry": decision.entry})
        kind = Kind.CLUSTER_CHANGED if before is not None else Kind.CLUSTER_FORMED
        shown = after or before
        assert shown is not None, "what never was cannot be dissolved"
        self._audit.note(
            Kind.CLUSTER_DISSOLVED if after is None else kind,
            name,
            by=by,
            why=why,
            detail={
                "capability": shown.capability,
                "members": " ".join(shown.members),
                "entry": decision.entry,
            },
        )
        return decision.entry

    # -- what the log has ----------------------------------------------------------------------

    def _roster(self, name: str) -> tuple[Roster | None, int | None]:
        """The roster and its version; no roster but a version is one that cannot be read here."""
        entry = self._quorum.kv.get(ROSTER + name)
        return (None, None) if entry is None else (decode_roster(entry.value), entry.version)

    def _leases(self, name: str) -> list[Need]:
        listed = self._quorum.kv.list(f"{LEASE}{name}/", limit=2 * MAX_LEASES)
        needs = (decode_need(each.entry.value) for each in listed)
        return [need for need in needs if need is not None]

    def _granted(self, name: str, roster: Roster | None) -> Lead:
        """Who leads, as the lock has it now."""
        lock = self._quorum.kv.lock(LEADER + name)
        if lock is None or roster is None:
            return Lead(None, 0)
        peer = PeerId(lock.holder.partition("/")[0]) if lock.holder is not None else None
        return Lead(peer if peer in roster.members else None, lock.token)

    def _told(self, name: str) -> Lead:
        entry = self._quorum.kv.get(LEADER + name)
        return (decode_lead(entry.value) if entry is not None else None) or Lead(None, 0)

    def _candidates(
        self, name: str, capability: str, roster: Roster | None, *, all_: bool = False
    ) -> dict[PeerId, Candidate]:
        now_ms = self._clock.now_ms()
        since_ms = self._leads_since_ms if self._leads() else None
        is_new = since_ms is None or now_ms - since_ms < GRACE_MS
        members = roster.members if roster is not None else ()
        look = self._fitting.everybody if all_ else self._fitting.candidates
        return look(name, capability, members, now_ms, is_new=is_new)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def _other_purpose(name: str, need: Need, roster: Roster | None) -> str:
    if roster is None or roster.capability == need.capability:
        return ""
    return f"the cluster {name!r} is for {roster.capability}; choose another name"


def _explained(candidates: Candidates) -> TooFew:
    fits = that_fit(candidates)
    fitting = {each.peer for each in fits}
    rest = [each for each in best_first(candidates.values()) if each.peer not in fitting]
    return TooFew(
        tuple(each.name for each in fits[:SHOWN]),
        tuple((each.name, each.why) for each in rest[:SHOWN]),
    )
