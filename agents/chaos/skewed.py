"""`python -m agents.chaos.skewed FILE ...` is `conclave ...` on a clock that may be wrong.

See `skew`, which writes the file. `time.time` and what looks there see that clock, if they look it
up when called; code in C, such as `datetime.now`, does not.

What this module does not know: how far it is off, and why.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from agents.chaos.skew import offset_reader


def put_clock(file: Path) -> None:
    """Let this process see that time of day from now on."""
    offset_ns, right_ns = offset_reader(file), time.time_ns

    def time_ns() -> int:
        return right_ns() + offset_ns()

    def time_s() -> float:
        return time_ns() / 1e9

    for name, own in (("time_ns", time_ns), ("time", time_s)):
        setattr(time, name, own)


if __name__ == "__main__":
    put_clock(Path(sys.argv[1]))
    del sys.argv[1]
    from agents.cli.main import main

    sys.exit(main())
