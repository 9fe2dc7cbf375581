"""`conclave`, but what it seals with a passphrase takes little work to open: no test guesses one.

What a passphrase costs is in the file, so that the real `conclave` opens it, too.
"""

from __future__ import annotations

import sys

from agents.cli.main import main
from keys.backups import archive
from keys.sealed import Cost, seal


def seal_quickly() -> None:
    for sealing in (seal, archive.back_up):
        assert "cost" in (sealing.__kwdefaults__ or {})
        sealing.__kwdefaults__["cost"] = Cost(1, 1 << 20)


if __name__ == "__main__":
    seal_quickly()
    sys.exit(main())
