"""The switch's process, as those see it who lay cables: started, asked, ended.

What this module does not know: namespaces, nodes; what bad links do (`links`).

Invariants: it ends when its owner does; whatever it is asked is answered, or `ChaosError` says what
it said at its end.
"""

from __future__ import annotations

import dataclasses
import json
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from agents.chaos.errors import ChaosError
from agents.switching import LinkTrouble, Trouble

ANSWER_S = 20.0
END_S = 5.0
TOLD_LINES = 3
_CLEAN = dataclasses.asdict(LinkTrouble())


class Cables:
    """
    Args:
        before: the words before the command, which say where it runs.
    """

    def __init__(self, before: Sequence[str]) -> None:
        self._lock = threading.Lock()  # who asks is in one thread or another
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "agents.switching"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours
        )

    def add(self, name: str, address: str) -> str:
        """Make a cable for a host, and return the device that is its end.

        Args:
            address: of that end, as in 02:00:00:00:00:01.
        """
        return str(self._ask({"add": name, "address": address.replace(":", "")})["device"])

    def apply(self, trouble: Trouble) -> None:
        """Let the network be like that; all at once."""
        links = [[a, b, _changed(link)] for a, b, link in trouble.links]
        self._ask({"cuts": sorted(map(list, trouble.cuts)), "links": links})

    def counts(self) -> dict[str, int]:
        """What became of all frames until now."""
        return self._ask({"counts": []})

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
                readable, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
                line = self._process.stdout.readline() if readable else ""
            except (OSError, ValueError):  # it is gone, or was closed here
                line = ""
        if not line:
            raise ChaosError(f"the switch has ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChaosError(f"the switch: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        self._process.kill()  # if it lives, it does not answer
        try:
            said = self._process.communicate(timeout=END_S)[1]
        except ValueError:  # closed before
            said = ""
        return " / ".join(said.splitlines()[-TOLD_LINES:]) or "it said nothing"


def _changed(link: LinkTrouble) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(link).items() if v != _CLEAN[k]}
