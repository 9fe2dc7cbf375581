"""The network's policy, for programs: `net.policy`.

What this module does not know: how a policy is decided and followed.
"""

from __future__ import annotations

from typing import Any

from agents.local import Gate


class PolicyNet:
    """What one may ask of policies through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def show(self) -> dict[str, Any]:
        """The texts in force at this node, None where there is none: `file` and `replicated`."""
        return dict(await self._gate.request("policy.show", {}))

    async def set(self, text: str, *, force: bool = False) -> int:
        """Have the network decide on this policy; return the index of its entry.

        Args:
            force: also if this node could not change the policy any more after it.

        Raises:
            PolicyInvalid, PolicyRefused, PermissionDenied, NoQuorum: nothing has changed.
            OutcomeUnknown.
        """
        return int(await self._gate.request("policy.set", {"text": text, "force": force}))

    async def reset(self) -> int:
        """Have the network be without a policy, so that roles and namespaces alone decide.

        Raises:
            PermissionDenied, NoQuorum, OutcomeUnknown.
        """
        return int(await self._gate.request("policy.reset", {}))

    async def explain(self, who: str, action: str, what: str) -> dict[str, Any]:
        """Whether somebody may do something at this node, and which rule decides.

        Args:
            who: a living peer by name or id, or `role:service`.
        """
        params = {"who": who, "action": action, "what": what}
        return dict(await self._gate.request("policy.explain", params))
