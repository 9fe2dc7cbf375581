"""The network as a program sees it: calls, topics, tasks, and who is there.

    async with connect() as net:
        print(await net.call("math.add", 2, 3, deadline=1.0))
        task = await net.submit("survey.file", {"path": "a.py"})
        print(await task.result(timeout=60))

A `Net` speaks to a node through a gate: the node in this process, or the one that runs on this
machine. Handlers find theirs in `Context.net`.

What this module does not know: how the node does it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from agents.amounts import MOST, millis, whole
from agents.amounts import seconds as length
from agents.errors import InvalidArguments
from agents.hosting.values import to_bytes
from agents.keeping.api import Kv
from agents.keeping.locks import Leadership, Lock
from agents.ledger import MAJORITY
from agents.local import Gate
from agents.messaging import Messaging
from agents.names import seen_from
from agents.net_audit import AuditNet
from agents.net_clusters import ClustersNet
from agents.net_deciding import DecidingNet
from agents.net_health import HealthNet
from agents.net_keys import KeysNet
from agents.net_members import MembersNet
from agents.net_policy import PolicyNet
from agents.net_raft import RaftNet
from agents.net_tokens import TokensNet
from agents.net_trust import TrustNet
from agents.publishing import Publishing
from agents.sealing import SealingNet
from agents.streaming.programs import Streaming
from agents.task import Task, Tasks, vote_of
from p2p import Clock, SystemClock

SUBMIT_TIMEOUT_S = 10.0
LOCK_LEASE_S = 10.0
ASSIGN_WAIT_S = 1.0
SUBMIT_BATCH = 256
SUBMIT_BATCH_BYTES = 512 * 1024


class Net(Messaging, Streaming, Publishing, SealingNet, DecidingNet, ClustersNet):
    """Everything that a program may ask of the network; made by `connect`.

    Args:
        namespace: where plain names of capabilities are looked up; see `within`.
        clock: of the machine, for leases.
    """

    def __init__(
        self,
        gate: Gate,
        name: str,
        peer_id: str,
        namespace: str = "",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(gate, name, peer_id, namespace)
        self._clock = clock or SystemClock()

    def within(self, namespace: str) -> Net:
        """Return this network seen from a namespace: plain names of capabilities mean its own.

        Full names go on to mean what they say, and `:math.add` the default namespace.
        """
        return Net(self._gate, self.name, self.peer_id, namespace, self._clock)

    @property
    def audit(self) -> AuditNet:
        """Audit logs: what happened, by whom."""
        return AuditNet(self._gate)

    @property
    def trust(self) -> TrustNet:
        """What is revoked, and revoking."""
        return TrustNet(self._gate)

    @property
    def agents_health(self) -> HealthNet:
        """How the agents of all nodes are."""
        return HealthNet(self._gate)

    @property
    def members(self) -> MembersNet:
        """Who is here, and who comes, goes and fails."""
        return MembersNet(self._gate)

    @property
    def raft(self) -> RaftNet:
        """The log, its members and their state."""
        return RaftNet(self._gate)

    @property
    def keys(self) -> KeysNet:
        """The keys of this node."""
        return KeysNet(self._gate)

    @property
    def tokens(self) -> TokensNet:
        """Session tokens for callers outside the network."""
        return TokensNet(self._gate)

    @property
    def policy(self) -> PolicyNet:
        """Who may do what, beyond roles and namespaces."""
        return PolicyNet(self._gate)

    # -- the store -----------------------------------------------------------------------------

    @property
    def kv(self) -> Kv:
        """The replicated store: keys, conditional writes, watches."""
        return Kv(self._gate)

    def lock(self, name: str, *, lease: float = LOCK_LEASE_S, timeout: float | None = None) -> Lock:
        """Hold a lock of the whole network: `async with net.lock("printer") as lock`.

        It is renewed while the block runs. When that fails, for want of a quorum or because this
        process stood still, it is lost at the lease's end, by our own clock and before anybody else
        can get it: `lock.check()` raises `LockLost`, `lock.lost` is set, and the block raises
        `LockLost` where it ends. Who waits is served in no order.

        Args:
            lease: seconds for which it outlives us when we vanish.
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            LockHeld, NoQuorum: not in time. A wait that is cancelled may hold it for one lease.
        """
        return Lock(self._gate, self._clock, name, lease, timeout)

    def leadership(
        self, name: str, *, lease: float = LOCK_LEASE_S, timeout: float | None = None
    ) -> Leadership:
        """Lead whoever has agreed on a name: `async with net.leadership("indexer") as term`.

        The block begins when this program leads. `await term.lost.wait()` returns when it leads no
        more; stop the work then. `term.token` grows from term to term.

        Args and errors: as for `lock`.
        """
        return Leadership(self._gate, self._clock, name, lease, timeout)

    # -- tasks ---------------------------------------------------------------------------------

    async def submit(
        self,
        skill: str,
        payload: Any = None,
        *,
        key: str | None = None,
        retries: int = 3,
        lease: float = 10.0,
        limit: float = 300.0,
        priority: int = 0,
        sealed_to: str | None = None,
        timeout: float = SUBMIT_TIMEOUT_S,
        policy: str = MAJORITY,
        voters: Iterable[str] | None = None,
        threshold: tuple[int, int] | None = None,
        may_veto: Iterable[str] = (),
        vote_deadline: float | None = None,
    ) -> Task:
        """Put a task into the ledger and return it; a quorum has it then, so it will not be lost.

        Executions are at least once, the result counts once.

        Args:
            payload: what the handler gets; a mapping fills its parameters by name.
            key: the same skill and key again is the same task, whoever submits it.
            retries: how often it is tried again after its worker died or failed it.
            lease: seconds after which a silent worker loses it.
            limit: seconds that one execution may take.
            sealed_to: this peer alone shall do it, and nobody else can read payload and result, in
                the log and its snapshots neither.
            timeout: seconds to wait for the quorum.
            policy: "majority" of the log's voters decides who does it. With "vote" named voters
                approve each assignment first, with signed ballots; docs/decisions.md.
            voters, threshold, may_veto, vote_deadline: of a vote, as for `decide`; each question
                has 60 seconds. A task that is not approved is parked with the reason.

        Raises:
            InvalidArguments: nobody can vote on it like that.
            NoQuorum: nothing can be decided now; it was not submitted.
            OutcomeUnknown: it may have been; submitting it again with the same key is safe.
            NoSealingKey: it cannot be sealed for that peer; it was not submitted.
        """
        options = _options(skill, retries, lease, limit, priority)
        wait_s = length(skill, "timeout", timeout)
        skill = seen_from(self._namespace, skill)
        spec = {"id": secrets.token_hex(16), "skill": skill, "key": key, **options}
        spec["payload"] = to_bytes([[payload], {}] if payload is not None else [[], {}])
        spec["sealed_to"] = sealed_to
        vote = vote_of(skill, policy, voters, threshold, may_veto, vote_deadline)
        params = {"tasks": [spec], "job": None, "timeout_s": wait_s, **vote}
        (task_id,) = await self._gate.request("submit", params)
        task = Task(self._gate, str(task_id), skill)
        await task.wait_assigned(ASSIGN_WAIT_S)
        return task

    async def submit_many(
        self,
        skill: str,
        payloads: Iterable[Any],
        *,
        keys: Sequence[str] | None = None,
        job: str | None = None,
        retries: int = 3,
        lease: float = 10.0,
        limit: float = 300.0,
        priority: int = 0,
        sealed_to: str | Sequence[str] | None = None,
        timeout: float = SUBMIT_TIMEOUT_S,
        policy: str = MAJORITY,
        voters: Iterable[str] | None = None,
        threshold: tuple[int, int] | None = None,
        may_veto: Iterable[str] = (),
        vote_deadline: float | None = None,
    ) -> Tasks:
        """Submit many tasks of one skill, some hundreds in one decision; see `submit`.

        Args:
            keys: one for each payload.
            job: a label under which `conclave tasks` counts them.
            sealed_to: this peer alone shall do all of them, or one for each payload.

        Raises:
            InvalidArguments: there are more payloads than peers, or the other way round.
        """
        options = _options(skill, retries, lease, limit, priority)
        wait_s = length(skill, "timeout", timeout)
        skill = seen_from(self._namespace, skill)
        specs = [
            {
                "id": secrets.token_hex(16),
                "skill": skill,
                "key": keys[position] if keys is not None else None,
                "payload": to_bytes([[payload], {}]),
                "sealed_to": to,
                **options,
            }
            for position, (payload, to) in enumerate(_for_whom(skill, payloads, sealed_to))
        ]
        ids: list[str] = []
        vote = vote_of(skill, policy, voters, threshold, may_veto, vote_deadline)
        for batch in _batches(specs):
            params = {"tasks": batch, "job": job, "timeout_s": wait_s, **vote}
            ids.extend(str(i) for i in await self._gate.request("submit", params))
        return Tasks(self._gate, ids, skill)

    async def task(self, task_id: str) -> Task:
        """Return a task by its id.

        Raises:
            TaskUnknown: the ledger has none.
        """
        task = Task(self._gate, task_id, "")
        await task.refresh()
        return task

    async def cancel(self, task_id: str) -> None:
        """Cancel a task that has not ended; its worker is told to stop."""
        await self._gate.request("cancel", {"id": task_id})

    async def retry(self, task_id: str) -> None:
        """Give a parked task its attempts back."""
        await self._gate.request("retry", {"id": task_id})

    # -- who is there --------------------------------------------------------------------------

    async def renew(self) -> dict[str, Any]:
        """Renew the node's certificate now; it does so by itself at two thirds of its life.

        Raises:
            NotRenewed: nobody granted it, with each one's reason.
        """
        return dict(await self._gate.request("renew", {}))

    async def status(self) -> dict[str, Any]:
        """Return what this node knows of itself, the quorum and the ledger."""
        return dict(await self._gate.request("status", {}))

    async def peers(self) -> list[dict[str, Any]]:
        """Return every peer that this node knows, itself first."""
        return list(await self._gate.request("peers", {}))

    async def agents(self) -> list[dict[str, Any]]:
        """Return every agent of the living peers with what it offers."""
        return list(await self._gate.request("agents", {}))

    async def tasks(
        self, *, state: str | None = None, job: str | None = None, limit: int = 100
    ) -> dict[str, Any]:
        """Return the ledger's counts by state, and its latest tasks."""
        return dict(await self._gate.request("tasks", {"state": state, "job": job, "limit": limit}))

    async def doctor(self, *, network: bool = False) -> list[dict[str, Any]]:
        """Return what this node finds wrong with itself, in words.

        Args:
            network: try the way to each peer and back, too; takes seconds.
        """
        return list(await self._gate.request("doctor", {"network": network}))

    async def figures(self, *, pings: bool = False) -> dict[str, Any]:
        """Return what this node has counted so far: peers and lanes, capabilities, topics, all.

        Counts only grow, so that the difference of two readings tells what went on between them.

        Args:
            pings: measure the round trip to every living peer too, which may take a second.
        """
        return dict(await self._gate.request("figures", {"pings": pings}))

    def bench(
        self, peer: str | None = None, *, seconds: float = 2.0
    ) -> AsyncIterator[dict[str, Any]]:
        """Measure the way to another node and yield what begins and what was found.

        It is the whole path, encryption included, and loads both machines while it lasts.

        Args:
            peer: its name, its id, or the start of its id; otherwise the first by name.
            seconds: for each of five measurements.

        Raises:
            NoOtherPeer, PeerUnreachable: there is nobody to measure with.
            InvalidArguments: it is this node, or so long is not measured.
            Overloaded: this node measures already.
        """
        return self._gate.stream(
            "bench", {"peer": peer, "seconds": length("bench", "seconds", seconds)}
        )

    def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens: peers that come, go and die, who leads, how agents are."""
        return self._gate.stream("watch", {})


def _options(skill: str, retries: int, lease: float, limit: float, priority: int) -> dict[str, Any]:
    return {
        "max_attempts": whole(skill, "retries", retries) + 1,
        "lease_ms": millis(skill, "lease", lease),
        "timeout_ms": millis(skill, "limit", limit),
        "priority": whole(skill, "priority", priority, least=-MOST),
    }


def _for_whom(
    skill: str, payloads: Iterable[Any], sealed_to: str | Sequence[str] | None
) -> list[tuple[Any, str | None]]:
    """Each payload with the peer that alone may read it."""
    given = list(payloads)
    readers = [sealed_to] * len(given) if isinstance(sealed_to, str | None) else list(sealed_to)
    if len(readers) != len(given):
        said = f"{len(given)} payloads cannot be sealed for {len(readers)} peers, one for each"
        raise InvalidArguments(skill, said)
    return list(zip(given, readers, strict=True))


def _batches(specs: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut into decisions that are small enough to travel, and large enough to be few."""
    batch: list[dict[str, Any]] = []
    size_bytes = 0
    for spec in specs:
        batch.append(spec)
        size_bytes += len(spec["payload"]) + len(spec["key"] or "")
        if len(batch) >= SUBMIT_BATCH or size_bytes >= SUBMIT_BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
