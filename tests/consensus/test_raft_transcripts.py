"""Scenarios as text files: commands, and exactly what they lead to.

`CONCLAVE_REWRITE=1 pytest tests/consensus/test_raft_transcripts.py` writes what happens now into
the files; what changed in them is then to be reviewed like code. The language is described in
`transcript_commands`.
"""

import os
from pathlib import Path

import pytest
from transcript_commands import difference, replayed

TRANSCRIPTS = sorted(Path(__file__).with_name("transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_it_happens_as_written(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    printed = replayed(text)
    if os.environ.get("CONCLAVE_REWRITE"):
        path.write_text(printed, encoding="utf-8")
        return
    if printed != text:
        pytest.fail(difference(path, text, printed), pytrace=False)


def test_there_are_transcripts_and_each_says_what_it_shows() -> None:
    assert len(TRANSCRIPTS) >= 20
    for path in TRANSCRIPTS:
        assert path.read_text(encoding="utf-8").startswith("# "), path.name
