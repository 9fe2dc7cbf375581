"""One of several programs leads; when it goes, another one does.

    python examples/leader_election.py --name one        on this machine; beside it: --name two

Kill the one that leads (Ctrl-C, kill -9): another leads within the lease. What the leader writes
into the file carries the token of its term, and the file refuses a lower one: a leader that stood
still for a minute, and does not know yet that it leads no more, writes nothing.
"""

import argparse
import asyncio
import contextlib
from pathlib import Path

from agents import FencedFile, Leadership, StaleToken, connect

LEASE_S = 3.0


async def lead(term: Leadership, name: str, file: FencedFile) -> None:
    """Do the leader's work until the term is lost."""
    work = 0
    while term.is_valid():
        work += 1
        line = f"{name}, term {term.token}, work {work}"
        try:
            file.write(line.encode(), term.token)
        except StaleToken:
            return
        print(line, flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await term.lost.wait()


async def main(name: str, path: Path) -> None:
    file = FencedFile(path)
    async with connect() as net:
        while True:
            print(f"{name} waits", flush=True)
            async with net.leadership("examples", lease=LEASE_S) as term:
                await lead(term, name, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lead, or wait until you do.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--file", type=Path, default=Path("leader.txt"))
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(given.name, given.file))
