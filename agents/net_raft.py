"""The log and its members, for programs: `net.raft`.

What this module does not know: how members are decided.
"""

from __future__ import annotations

from typing import Any

from agents.local import Gate


class RaftNet:
    """What one may ask of the log through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def status(self) -> dict[str, Any]:
        """Who votes, who leads, and how far every member is."""
        return dict(await self._gate.request("raft.status", {}))

    async def transfer(self, peer: str | None = None) -> str | None:
        """Have a voter lead: this one, or the best; return who leads now.

        Raises:
            ChangeRefused, NoQuorum, PeerUnreachable.
        """
        leader: str | None = await self._gate.request("raft.transfer", {"peer": peer})
        return leader

    async def add_voter(self, peer: str) -> list[Any]:
        """Let a peer listen, and vote once it has caught up; return voters and learners.

        Raises:
            ChangeRefused, NoQuorum, OutcomeUnknown, PeerUnreachable.
        """
        return list(await self._gate.request("raft.add", {"peer": peer}))

    async def remove_voter(self, peer: str) -> list[Any]:
        """Let a peer vote and listen no more; return voters and learners, also where it was removed
        so before: whoever did not hear the answer may ask again.

        Raises:
            ChangeRefused, NoQuorum, OutcomeUnknown, PeerUnreachable.
        """
        return list(await self._gate.request("raft.remove", {"peer": peer}))

    async def autopilot(self, *, on: bool) -> None:
        """Whether dead voters are replaced by spare nodes. Changes by hand switch it off."""
        await self._gate.request("raft.autopilot", {"on": on})

    async def follow(self, peer: str) -> int:
        """Say, as an administrator, that this peer's log is the one that was begun again; return
        its generation.

        Raises:
            NotFollowed, PeerUnreachable.
        """
        return int(await self._gate.request("raft.follow", {"peer": peer}))

    async def snapshot(self) -> dict[str, Any]:
        """Write this member's state to a file; return its path and the index that it holds."""
        return dict(await self._gate.request("raft.snapshot", {}))

    async def backup(self, path: str) -> dict[str, Any]:
        """Write this member's state to a new file, for `conclave raft restore`."""
        return dict(await self._gate.request("raft.backup", {"path": path}))
