"""Send a file from one node to another, with progress, whole or not at all.

    conclave up examples/files.py                               on the node that keeps files
    conclave run examples/files.py --path photo.jpg             on another one
    conclave run examples/files.py --path photo.jpg --to bob    to this one of several

Files arrive in the directory `received` below where the keeping node was started, or in the one
that FILES_INBOX names. The receiver compares checksums before the file has its name there.
"""

import os
import sys
from pathlib import Path
from typing import Any

from agents import Agent, Channel, Context, Net

MAX_BYTES = 10 * 1024**3

agent = Agent("files")


@agent.serve("files.put", limit=4)
async def put(channel: Channel, context: Context) -> None:
    """Keep one file."""
    stored = await channel.receive_file(inbox(), max_bytes=MAX_BYTES)
    print(f"{stored.path} came from {context.caller_name}", flush=True)
    await channel.send({"name": stored.path.name, "size_bytes": stored.size_bytes})


@agent.job()
async def send(net: Net, path: str, to: str = "") -> dict[str, Any]:
    """Send one file."""
    async with net.open("files.put", peer=to or None) as channel:
        checksum = await channel.send_file(path, progress=show)
        stored = await anext(channel)  # it is on the other node's disk now
        return {"to": channel.peer, "blake2b": checksum, **stored}


def inbox() -> Path:
    """Return the directory for what arrives."""
    directory = Path(os.environ.get("FILES_INBOX", "received"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def show(sent: int, size: int) -> None:
    """Show how far it is, where somebody looks."""
    if sys.stderr.isatty():
        end = "\n" if sent == size else ""
        print(f"\r{sent:,} of {size:,} bytes", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    agent.run()
