"""What programs on this machine may ask of the node, by name: the table behind every gate.

Parameters and answers are plain data. The same table serves the process itself and the local door;
either way the asker acts as this node, with this node's rights.

What this module does not know: sockets, printing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from agents.addressing import other_peer, peer_named, peer_or_id
from agents.auditing_events import watched
from agents.auditing_reading import audit_operations
from agents.calling import PRIORITIES, Wishes
from agents.choosing import FULL
from agents.doctoring import examine
from agents.errors import InvalidArguments
from agents.hosting import Kind
from agents.ledger import MAX_PAYLOAD_BYTES, TaskId, TaskSpec
from agents.local import Operation, Stream, Table, describe_error
from agents.names import namespace_of, peer_meant
from agents.network_check import check_network
from agents.operations_clusters import cluster_operations
from agents.operations_deciding import deciding_operations
from agents.operations_keeping import keeping_operations
from agents.operations_keys import keys_operations
from agents.operations_messaging import topic_operations
from agents.operations_policy import policy_operations
from agents.operations_raft import raft_operations
from agents.operations_trust import trust_operations
from agents.sealing import sealing_operations
from agents.streaming import stream_operations
from agents.tasking import wire
from agents.tokens_operations import token_operations
from keys import PeerId
from p2p import MemberState, PayloadTooLarge

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

ASK_TIMEOUT_S = 5.0


class Operations:
    """The operations of one node."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        requests: Mapping[str, Operation] = {
            "agents": self._agents,
            "broadcast": self._broadcast,
            "call": self._call,
            "cancel": self._cancel,
            "doctor": self._doctor,
            "figures": self._figures,
            "notify": self._notify,
            "peers": self._peers,
            "retry": self._retry,
            "send": self._send,
            "renew": self._renew,
            "status": self._status,
            "submit": self._submit,
            "task": self._task,
            "tasks": self._tasks,
            "wait": self._wait,
            "wait_for": self._wait_for,
            "whoami": self._whoami,
        }
        streams: Mapping[str, Stream] = {"bench": self._bench, "watch": self._watch}
        topics, store = topic_operations(node), keeping_operations(node)
        clusters = cluster_operations(node)
        self.table = Table(
            watched(
                node.auditing.audit,
                {
                    **requests,
                    **topics.requests,
                    **raft_operations(node).requests,
                    **policy_operations(node).requests,
                    **keys_operations(node).requests,
                    **trust_operations(node).requests,
                    **deciding_operations(node).requests,
                    **sealing_operations(node).requests,
                    **token_operations(node).requests,
                    **store.requests,
                    **clusters.requests,
                    **audit_operations(node).requests,
                },
            ),
            {**streams, **topics.streams, **store.streams, **clusters.streams},
            stream_operations(node.opening, self._wishes).channels,
        )

    # -- calls ---------------------------------------------------------------------------------

    async def _call(self, params: Mapping[str, Any]) -> bytes:
        return await self._node.calling.call(
            str(params["capability"]),
            params["message"],
            float(params["timeout_s"]),
            self._wishes(params),
        )

    async def _notify(self, params: Mapping[str, Any]) -> None:
        capability = str(params["capability"])
        self._node.calling.notify(capability, params["message"], self._wishes(params))

    async def _send(self, params: Mapping[str, Any]) -> None:
        await self._node.calling.send(
            str(params["capability"]),
            params["message"],
            float(params["timeout_s"]),
            self._wishes(params),
        )

    async def _broadcast(self, params: Mapping[str, Any]) -> Any:
        calling, capability = self._node.calling, str(params["capability"])
        message, everyone = params["message"], bool(params["everyone"])
        priority = _priority(capability, params)
        if not params["ack"]:
            return calling.notify_all(capability, message, priority, everyone=everyone)
        outcomes = await calling.send_all(
            capability, message, float(params["timeout_s"]), priority, everyone=everyone
        )
        return [
            [peer_id, self._node.peer.label(peer_id), error and describe_error(error)]
            for peer_id, error in outcomes.items()
        ]

    def _wishes(self, params: Mapping[str, Any]) -> Wishes:
        """Return how a caller wants to be served; most say nothing."""
        to = params.get("peer")
        wishes = Wishes(peer_named(self._node.peer, str(to)) if to is not None else None)
        if "among" in params:
            wishes.among = frozenset(map(str, params["among"]))
        if "options" in params:
            options = params["options"]
            attempt_s = options.get("attempt_s")
            wishes.balance = str(options.get("balance") or "")
            wishes.key = options.get("key")
            wishes.attempt_s = None if attempt_s is None else max(0.001, float(attempt_s))
            wishes.priority = _priority(str(params["capability"]), options)
        return wishes

    async def _wait_for(self, params: Mapping[str, Any]) -> None:
        await self._node.calling.wait_for(str(params["capability"]), float(params["timeout_s"]))

    def _watch(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        return self._node.watching.events()

    # -- tasks ---------------------------------------------------------------------------------

    async def _submit(self, params: Mapping[str, Any]) -> list[str]:
        own = self._node.peer.peer_id
        raws = [await self._sealed(raw) for raw in params["tasks"]]
        specs = [_spec_of(raw, own, params.get("job")) for raw in raws]
        for skill in {peer_meant(spec.skill)[0] for spec in specs}:
            kind = self._node.directory.kind_of(skill)
            if kind not in (None, Kind.CALL):
                raise InvalidArguments(skill, f"no task can be made of it: it {kind.advice}")
        vote, timeout_s = params.get("vote"), float(params["timeout_s"])
        if vote is None:
            said = await self._node.asking.ask(wire.SUBMIT, specs, timeout_s)
        else:
            voted = [[spec, vote] for spec in specs]
            said = await self._node.asking.ask(wire.SUBMIT_VOTED, voted, timeout_s)
            if said and not said[0][0]:  # who is to vote is refused for all of them
                raise InvalidArguments(specs[0].skill, f"nobody can vote on it so: {said[0][1]}")
        ids: list[str] = []
        for spec, (task_id, refusal) in zip(specs, said, strict=True):
            if refusal is not None:
                raise InvalidArguments(spec.skill, f"the ledger refuses the task: {refusal}")
            ids.append(task_id)
        return ids

    async def _sealed(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a task as it is submitted: sealed, where it is for one peer's eyes."""
        skill, to = str(raw["skill"]), raw.get("sealed_to")
        if peer_meant(skill)[1] is not None:
            raise InvalidArguments(skill, "it is meant for one peer; say `sealed_to`")
        if to is None:
            return raw
        worker = peer_or_id(self._node.peer, str(to))
        skill, payload = await self._node.sealed_tasks.seal_payload(
            str(raw["id"]), skill, raw["payload"], worker
        )
        return {**raw, "skill": skill, "payload": payload}

    async def _wait(self, params: Mapping[str, Any]) -> list[Any]:
        wait_s = float(params["timeout_s"])
        value = [list(params["ids"]), int(wait_s * 1000)]
        answer = await self._node.asking.ask(
            wire.WAIT, value, wait_s + ASK_TIMEOUT_S, attempt_s=wait_s + ASK_TIMEOUT_S
        )
        return list(answer)

    async def _task(self, params: Mapping[str, Any]) -> Any:
        return await self._node.asking.ask(wire.VIEW, [str(params["id"])], ASK_TIMEOUT_S)

    async def _tasks(self, params: Mapping[str, Any]) -> Any:
        value = [params.get("state"), params.get("job"), int(params.get("limit") or 100)]
        return await self._node.asking.ask(wire.LIST, value, ASK_TIMEOUT_S)

    async def _cancel(self, params: Mapping[str, Any]) -> Any:
        return await self._node.asking.ask(wire.CANCEL, [str(params["id"])], ASK_TIMEOUT_S)

    async def _retry(self, params: Mapping[str, Any]) -> Any:
        return await self._node.asking.ask(wire.RETRY, [str(params["id"])], ASK_TIMEOUT_S)

    # -- who is there --------------------------------------------------------------------------

    async def _whoami(self, params: Mapping[str, Any]) -> dict[str, Any]:
        peer = self._node.peer
        return {
            "peer": peer.peer_id,
            "name": peer.name,
            "network": self._node.keystore.genesis.network_name,
        }

    async def _status(self, params: Mapping[str, Any]) -> dict[str, Any]:
        node = self._node
        quorum = node.quorum.status()
        leader = quorum["leader"]
        return {
            **await self._whoami(params),
            "network_id": node.keystore.genesis.network_id,
            "expected_voters": node.keystore.genesis.expected_voters,
            "door_port": node.peer.ports["door"],
            "door_hosts": list(node.world.hosts()),
            "certificate_until_ms": node.peer.principal.not_after_ms,
            "certificate_renewed_ms": node.renewing.due_ms,
            "why_not_renewed": node.renewing.problem,
            "peers_alive": len(node.peer.presence.present()),
            "agents": [offer.name for offer in node.host.offers],
            "leases": node.working.held,
            "running": node.host.running,
            **quorum,
            "leader_name": node.peer.label(leader) if leader is not None else None,
        }

    async def _renew(self, params: Mapping[str, Any]) -> dict[str, Any]:
        chain = await self._node.renewing.renew()
        return {
            "until_ms": chain.leaf.not_after_ms,
            "serial": chain.leaf.serial.hex(),
            "renewed_ms": self._node.renewing.due_ms,
        }

    async def _peers(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        node = self._node
        peer, leader = node.peer, node.quorum.leader()
        own = {
            "peer": peer.peer_id,
            "name": peer.name,
            "state": MemberState.ALIVE.value,
            "is_self": True,
            "since_s": None,
            "address": f"door port {peer.ports['door']}",
        }
        rows = [own]
        for member in peer.presence.members():
            session, shown = peer.session_of(member.peer_id), peer.member(member.peer_id)
            rows.append(
                {
                    "peer": member.peer_id,
                    "name": shown.name if shown else "?",
                    "state": member.state.value,
                    "is_self": False,
                    "since_s": round(member.since_ms / 1000, 1),
                    "address": session.hosts[0] if session and session.hosts else "?",
                }
            )
        for row in rows:
            row["is_leader"] = row["peer"] == leader
            row["is_voter"] = node.quorum.is_voter(PeerId(str(row["peer"])))
        return rows

    async def _agents(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        label = self._node.peer.label
        return [
            {
                "agent": card.name,
                "peer": peer_id,
                "node": label(peer_id),
                "capacity": card.capacity,
                "load": card.load / FULL,
                "health": card.condition.state.value,
                "reason": card.condition.reason,
                "health_since_ms": card.condition.since_ms,
                "note": card.note,
                "offers": [
                    {
                        "capability": c,
                        "namespace": namespace_of(c),
                        "usage": skill.usage,
                        "summary": skill.summary,
                        "kind": skill.kind,
                        **skill.terms._asdict(),
                    }
                    for c, skill in sorted(card.skills.items())
                ],
            }
            for peer_id, card in self._node.directory
        ]

    async def _doctor(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = examine(self._node)
        if params.get("network"):
            found += await check_network(self._node)
        return [finding.to_wire() for finding in found]

    async def _figures(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return await self._node.figures.read(pings=bool(params["pings"]))

    def _bench(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        wanted = params["peer"]
        to = other_peer(self._node.peer, None if wanted is None else str(wanted), "bench")
        return self._node.measuring.measure(to, float(params["seconds"]))


def _priority(capability: str, options: Mapping[str, Any]) -> int:
    """Return the number of a priority.

    Raises:
        InvalidArguments: there is none of that name.
    """
    name = options.get("priority") or "normal"
    if name not in PRIORITIES:
        known = ", ".join(PRIORITIES)
        raise InvalidArguments(capability, f"priority {name!r} is none of {known}")
    return PRIORITIES[name]


def _spec_of(raw: Mapping[str, Any], own: PeerId, job: str | None) -> TaskSpec:
    """Return what a program submits as the ledger wants it.

    Raises:
        PayloadTooLarge: the ledger would refuse it.
    """
    payload = raw["payload"]
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(len(payload), MAX_PAYLOAD_BYTES, "task payload")
    return TaskSpec(
        task_id=TaskId(str(raw["id"])),
        skill=str(raw["skill"]),
        payload=payload,
        submitter=own,
        key=raw.get("key"),
        max_attempts=int(raw["max_attempts"]),
        timeout_ms=int(raw["timeout_ms"]),
        priority=int(raw["priority"]),
        lease_ms=int(raw["lease_ms"]),
        job=job,
    )
