"""Tables show the words of others without letting them steer the terminal."""

import pytest

from agents.cli.show import print_table


def test_a_cell_cannot_move_the_cursor_or_begin_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("AGENT", "OFFERS"), [("evil", "\x1b[2Jx\nfake line \u202e")])
    assert capsys.readouterr().out == "AGENT  OFFERS\nevil   \\x1b[2Jx fake line \\u202e\n"
