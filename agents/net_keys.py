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

    async def open_issuer(self, passphrase: str | None) -> str:
        """Let this node take in the issuer's key of its home, which is sealed with this passphrase.

        It goes over the local socket alone and is kept nowhere. Returns the issuer's name.

        Raises:
            NotTheIssuer: this home has none.
            PassphraseNeeded, PassphraseWrong, KeystoreError.
        """
        given = None if passphrase is None else passphrase.encode("utf-8", "surrogateescape")
        return str((await self._gate.request("issuer.open", {"passphrase": given}))["name"])
