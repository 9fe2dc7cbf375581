"""The node's keys, for programs: `net.keys`.

What this module does not know: how a key is changed.
"""

from __future__ import annotations

from typing import Any

from agents.local import Gate


class KeysNet:
    """What one may ask of keys through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def rotate(self) -> dict[str, Any]:
        """Change the key under which this node's connections are encrypted, now.

        Nothing is interrupted. Returns the public half of the new key, how many peers were there,
        and which of them did not come over in time.

        Raises:
            RotationFailed: the key is what it was.
        """
        return dict(await self._gate.request("keys.rotate", {}))
