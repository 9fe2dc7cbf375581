"""`conclave`, but every secret that it makes or reads is written down, for a test to look for.

python canary_conclave.py up ...         one command, as `conclave` would run it
python canary_conclave.py --batch FILE   many, a JSON list of words a line, with marks between
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quick_conclave import seal_quickly

from agents.cli.main import main
from keys import Identity, Ticket, TransportKey
from keys.sealed import derive_key
from keys.sealing import SealingSecret

BOOK = os.open(os.environ["CANARY_BOOK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
MARK = "=== command"


def note(secret: bytes) -> None:
    os.write(BOOK, secret.hex().encode() + b"\n")


def watch(kind: type[Any], secret_of: Callable[[Any], bytes]) -> None:
    """Note the secret of every object of this kind that is made."""
    real = kind.__init__

    def noting(self: Any, *arguments: Any, **more: Any) -> None:
        real(self, *arguments, **more)
        note(secret_of(self))

    kind.__init__ = noting


def batch(path: Path) -> None:
    for line in path.read_text().splitlines():
        words = json.loads(line)
        print(f"{MARK} {line}", flush=True)
        try:
            print("status", main(words), flush=True)
        except SystemExit as error:
            print("exit", error, flush=True)
        except Exception:  # noqa: BLE001 - what it says is looked at, too
            traceback.print_exc(file=sys.stdout)


watch(Identity, Identity.export_secret)
watch(TransportKey, TransportKey.export_secret)
watch(SealingSecret, SealingSecret.export_secret)
watch(Ticket, lambda ticket: ticket.secret)


def deriving(*arguments: Any) -> bytes:
    key = derive_key(*arguments)
    note(key)
    return key


seal_quickly()

for module in ("keys.sealed", "keys.backups.archive"):
    vars(importlib.import_module(module))["derive_key"] = deriving

if __name__ == "__main__":
    if sys.argv[1] == "--batch":
        batch(Path(sys.argv[2]))
        sys.exit()
    sys.exit(main(sys.argv[1:]))
