"""Tables show the words of others without letting them steer the terminal."""

import pytest

from agents.cli.show import agent_lines, print_table


def test_a_cell_cannot_move_the_cursor_or_begin_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("AGENT", "OFFERS"), [("evil", "\x1b[2Jx\nfake line \u202e")])
    assert capsys.readouterr().out == "AGENT  OFFERS\nevil   \\x1b[2Jx fake line \\u202e\n"


def test_who_serves_and_who_stands_by_is_told_beside_what_is_offered() -> None:
    offer = {"namespace": "", "kind": "call", "usage": "a.b()", "summary": "Does it."}
    row = {"agent": "lone", "node": "ada", "health": "healthy", "capacity": 2, "offers": [offer]}
    serves, stands_by, plain = agent_lines(
        [
            {**row, "note": "active, token 7"},
            {**row, "note": "stands by", "offers": []},
            {**row, "note": ""},
        ]
    )
    assert serves[-2:] == ("a.b()", "active, token 7; Does it.")
    assert stands_by[-2:] == ("nothing now", "stands by")
    assert plain[-2:] == ("a.b()", "Does it.")
