"""The command: one file with a chain or a decision's certificate; ends with 0 when it holds.

What this module does not know: formats.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from keys.second_opinion import No, chain, decision, record


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m keys.second_opinion")
    words.add_argument("file", type=Path, help="a chain, or the certificate of a decision")
    words.add_argument("--network", help="the network's id; a chain needs it")
    words.add_argument("--record", type=Path, help="a transport record of the chain's peer")
    words.add_argument("--lists", type=Path, nargs="*", default=[], help="files `*.list` of a home")
    words.add_argument("--now-ms", type=int, default=round(time.time() * 1000))
    words.add_argument("--electorate", help="digest of those who had to decide, as hex")
    given = words.parse_args()
    data = given.file.read_bytes()
    try:
        if data.startswith(b"CNBC"):
            electorate = bytes.fromhex(given.electorate) if given.electorate else None
            said = decision(data, electorate)
            if electorate is None:
                said += ", by the electorate that it names itself"
        elif given.network:
            lists = [path.read_bytes() for path in given.lists]
            leaf = chain(data, given.network, given.now_ms, lists)
            if given.record:
                record(given.record.read_bytes(), leaf, given.now_ms)
            said = "a member's chain" + (", which no list revokes" if lists else "")
        else:
            words.error("say by --network whose chain it has to be: `conclave status` shows the id")
    except No as word:
        sys.stdout.write(f"does not hold: {word}\n")
        return 1
    sys.stdout.write(f"holds: {said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
