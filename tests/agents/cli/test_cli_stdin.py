"""Standard input, line by line, from whatever it comes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from agents.cli.standard_input import MAX_LINE_BYTES, lines_of_stdin
from agents.errors import InvalidArguments


def lines_in(content: bytes, tmp_path: Path) -> list[str]:
    """What is read from a file of this content."""
    file = tmp_path / "input"
    file.write_bytes(content)

    async def main() -> list[str]:
        with file.open("rb") as opened:
            return [line async for line in lines_of_stdin(opened.fileno())]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo", ["one", "two"]),
        (b"one\n\nthree", ["one", "", "three"]),
        ("grüße\n".encode() * 3, ["grüße"] * 3),
    ],
)
def test_lines_end_where_they_end(content: bytes, lines: list[str], tmp_path: Path) -> None:
    assert lines_in(content, tmp_path) == lines


def test_lines_longer_than_a_piece_are_put_together(tmp_path: Path) -> None:
    long = "x" * (MAX_LINE_BYTES - 1)
    assert lines_in(f"{long}\n{long}".encode(), tmp_path) == [long, long]


def test_a_line_over_the_limit_or_not_utf_8_is_refused_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(InvalidArguments, match="line 2 is over the limit"):
        lines_in(b"one\n" + b"x" * (MAX_LINE_BYTES + 100_000), tmp_path)
    with pytest.raises(InvalidArguments, match="line 3 is not UTF-8"):
        lines_in(b"one\ntwo\n\xff\n", tmp_path)


def test_a_line_of_a_pipe_arrives_before_the_next_is_written() -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        try:
            lines = lines_of_stdin(reading)
            for word in ("one", "two"):
                os.write(writing, f"{word}\n".encode())
                assert await anext(lines) == word
            os.close(writing)
            writing = -1
            assert [line async for line in lines] == []
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)

    asyncio.run(main())
