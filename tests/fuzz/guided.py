"""One harness under atheris, whose mutations are led by coverage: `python guided.py NAME RUNS`.

Needs the extra `fuzz`. Ends with 0 when the decoder raised nothing but its refusals.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]


def main() -> None:
    name, runs = sys.argv[1], int(sys.argv[2])
    with atheris.instrument_imports(include=["keys", "p2p", "consensus", "agents"]):
        from fuzz_targets import HARNESSES
    harness = HARNESSES[name]

    def one(data: bytes) -> None:
        with contextlib.suppress(harness.refuses):
            harness.decode(data)

    corpus = Path(tempfile.mkdtemp(prefix="fuzz-corpus-"))
    for number, seed in enumerate(harness.seeds):
        (corpus / str(number)).write_bytes(seed)
    options = [
        f"-runs={runs}",
        "-max_len=4096",
        "-timeout=5",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
