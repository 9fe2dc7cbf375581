"""The policies in a node's directory.

    policy.toml         this node's own, written by people; read once, at the start
    policy.replicated   what the network has decided last, as far as this node knows, in JSON:
                        generation of the log, index of the entry, text or null
    policy.recovery     a person on this machine wants the network's policy gone: up to which one

What the network decides is written down here before it is in force, so that a restart enforces it
before anybody is heard.

What this module does not know: who decides, when it counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keys.errors import HomeDamaged, PolicyInvalid
from keys.files import read_file, remove_file, write_atomic
from keys.policies.file import MAX_POLICY_BYTES, parse_policy
from keys.policy import Policy

FILE: Final = "policy.toml"
REPLICATED: Final = "policy.replicated"
RECOVERY: Final = "policy.recovery"
VERSION: Final = 1
MAX_BYTES: Final = 8 * MAX_POLICY_BYTES  # JSON may write one byte as six
ANY_INDEX: Final = 2**62


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a policy was decided; a later one counts, whoever says it."""

    generation: int
    index: int


@dataclass(frozen=True, slots=True)
class Held:
    """What the network has decided: a text, or that there is no policy."""

    place: Place
    text: str | None


class PolicyStore:
    """
    Args:
        home: the node's directory.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / FILE
        self._replicated = home / REPLICATED
        self._recovery = home / RECOVERY

    def own(self) -> Policy | None:
        """This node's own policy, None if it has none.

        Raises:
            PolicyInvalid: it is none.
            HomeUnreadable: its file cannot be read.
        """
        try:
            data = read_file(self.path, MAX_POLICY_BYTES)
        except HomeDamaged:
            said = f"it is longer than {MAX_POLICY_BYTES:,} bytes"
            raise PolicyInvalid(str(self.path), said) from None
        if data is None:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise PolicyInvalid(str(self.path), "it is no UTF-8") from None
        return parse_policy(text, str(self.path))

    def replicated(self) -> Held | None:
        """
        Raises:
            HomeDamaged: what was known is lost; until somebody looks, nothing may be allowed.
        """
        fields = self._read(self._replicated)
        if fields is None:
            return None
        place, text = self._place(self._replicated, fields), fields.get("text", 0)
        if text is not None and not isinstance(text, str):
            raise _damaged(self._replicated)
        return Held(place, text)

    def save(self, held: Held) -> None:
        """When this returns it survives a power cut.

        Raises:
            HomeUnreadable: it cannot be written.
        """
        self._write(self._replicated, held.place, text=held.text)

    def recovery(self) -> Place | None:
        """Up to where the network's policies shall go, if a person wants that.

        Raises:
            HomeDamaged.
        """
        fields = self._read(self._recovery)
        return None if fields is None else self._place(self._recovery, fields)

    def want_recovery(self) -> Place:
        """Note that the policy which is known here shall go; whoever starts the node has it asked.

        Raises:
            HomeUnreadable: it cannot be written.
        """
        try:
            held = self.replicated()
        except HomeDamaged:
            held = None
            remove_file(self._replicated)
        place = Place(0, ANY_INDEX) if held is None else held.place
        self._write(self._recovery, place)
        return place

    def forget_recovery(self) -> None:
        remove_file(self._recovery)

    def _write(self, path: Path, place: Place, **more: Any) -> None:
        said = {"version": VERSION, "generation": place.generation, "index": place.index, **more}
        write_atomic(path, json.dumps(said).encode())

    def _read(self, path: Path) -> dict[str, Any] | None:
        data = read_file(path, MAX_BYTES)
        if data is None:
            return None
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict) or fields.get("version") != VERSION:
            raise _damaged(path)
        return fields

    @staticmethod
    def _place(path: Path, fields: dict[str, Any]) -> Place:
        generation, index = fields.get("generation"), fields.get("index")
        if type(generation) is not int or type(index) is not int:
            raise _damaged(path)
        return Place(generation, index)


def _damaged(path: Path) -> HomeDamaged:
    said = "it is not what was written; if the network's policy may be learnt anew, remove it"
    return HomeDamaged(path, said)
