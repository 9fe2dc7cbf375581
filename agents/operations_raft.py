"""What programs on this machine may ask of the node about the log and its members.

What this module does not know: sockets, printing, how members are decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.addressing import MIN_START_CHARS, peer_named
from agents.errors import InvalidArguments
from agents.local import Table
from keys import PeerId
from p2p import PeerUnreachable

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

SNAPSHOT_S = 30.0
LOOK_AGAIN_S = 0.02


def raft_operations(node: NodeParts) -> Table:
    """Return the operations of the log."""
    raft = _Raft(node)
    return Table(
        {
            "raft.add": raft.add,
            "raft.autopilot": raft.autopilot,
            "raft.backup": raft.backup,
            "raft.follow": raft.follow,
            "raft.remove": raft.remove,
            "raft.snapshot": raft.snapshot,
            "raft.status": raft.status,
            "raft.transfer": raft.transfer,
        },
        {},
        {},
    )


class _Raft:
    def __init__(self, node: NodeParts) -> None:
        self._node = node

    async def status(self, params: Mapping[str, Any]) -> dict[str, Any]:
        node = self._node
        leader = node.quorum.leader()
        membership = node.quorum.electorate.membership
        return {
            "leader": leader,
            "leader_name": node.peer.label(leader) if leader is not None else None,
            "why_no_leader": node.quorum.why_none() if leader is None else None,
            "generation": max(0, node.quorum.electorate.cluster.generation),
            "cluster": node.quorum.electorate.cluster.cluster_id,
            "voters": list(membership.voters),
            "outgoing": list(membership.outgoing),
            "learners": list(membership.learners),
            "autopilot": node.steering.explain() if node.quorum.leads else None,
            "members": await node.governing.statuses(),
        }

    async def add(self, params: Mapping[str, Any]) -> list[Any]:
        return await self._node.governing.add_voter(self._named(params))

    async def remove(self, params: Mapping[str, Any]) -> list[Any]:
        return await self._node.governing.remove_voter(self._member_named(params))

    async def transfer(self, params: Mapping[str, Any]) -> str | None:
        to = self._named(params) if params.get("peer") is not None else None
        await self._node.governing.transfer(to)
        leader = self._node.quorum.leader()
        return self._node.peer.label(leader) if leader is not None else None

    async def autopilot(self, params: Mapping[str, Any]) -> None:
        await self._node.governing.autopilot(on=bool(params["on"]))

    async def follow(self, params: Mapping[str, Any]) -> int:
        await self._node.quorum.vouching.follow(self._named(params))
        return self._node.quorum.electorate.cluster.generation

    async def snapshot(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Make one of this node's state, and return when it is durable."""
        quorum = self._node.quorum
        replica = quorum.own_replica()
        if replica is None:
            raise InvalidArguments("raft.snapshot", "this node is no member of the log")
        if not (wanted := replica.applied):
            raise InvalidArguments("raft.snapshot", "nothing was decided yet")
        begun: int | None = None
        for _ in range(round(SNAPSHOT_S / LOOK_AGAIN_S)):
            if begun is None:  # while an older one is under way, none can begin
                begun = replica.make_snapshot()
            elif replica.status.snapshot_index >= begun:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        index = replica.status.snapshot_index
        folder = self._node.home / "raft"
        found = sorted(folder.glob(f"snapshot-{index}-*.snap"))
        if begun is None or index < begun or not found:
            raise InvalidArguments(
                "raft.snapshot",
                f"none of entry {wanted} was written to {folder} within {SNAPSHOT_S:g} s:"
                " look for room on that disk",
            )
        return {"index": index, "path": str(found[-1])}

    async def backup(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A snapshot that is no older than this call, packed into a file."""
        node = self._node
        target = Path(str(params["path"]))
        replica = node.quorum.replica
        if replica is not None and replica.is_leader:
            await replica.read_index(SNAPSHOT_S)
        made = await self.snapshot(params)
        cluster = node.quorum.electorate.cluster
        from agents.disaster import back_up  # with zipfile: once in a while, and 0.3 MB

        try:
            size_bytes = await asyncio.to_thread(
                back_up, node.keystore, cluster, Path(str(made["path"])), target
            )
        except OSError as error:
            raise InvalidArguments("raft.backup", str(error)) from error
        return {"index": made["index"], "path": str(target), "bytes": size_bytes}

    def _member_named(self, params: Mapping[str, Any]) -> PeerId:
        """A member, also one that is dead; otherwise a living peer, or one that was to be removed
        before: who did not hear that it is gone asks again."""
        wanted, quorum = str(params["peer"]), self._node.quorum
        found = self._matching(wanted, quorum.electorate.membership.members)
        if len(found) == 1:
            return found[0]
        try:
            return self._named(params)
        except PeerUnreachable:
            gone = self._matching(wanted, self._node.steering.removed())
            if len(gone) == 1:
                return gone[0]
            raise

    def _matching(self, wanted: str, among: Sequence[str]) -> list[PeerId]:
        """Those of this id, of this name, or else those whose ids begin like this."""
        peers, label = [PeerId(one) for one in among], self._node.peer.label
        found = [one for one in peers if one == wanted or label(one).split(" ")[0] == wanted]
        if not found and len(wanted) >= MIN_START_CHARS:
            found = [one for one in peers if one.startswith(wanted)]
        return found

    def _named(self, params: Mapping[str, Any]) -> PeerId:
        return peer_named(self._node.peer, str(params["peer"]))
