"""The words of a command: what they become, and the one line that refuses them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from agents.cli import main
from agents.cli.main import parser
from agents.cli.numbers import count, minutes, port, seconds
from agents.cli.places import node_name_of
from agents.cli.work import value_of
from keys import name_problem


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ('"1"', "1"),
        ("plain", "plain"),
        ("two words", "two words"),
        ("{broken", "{broken"),
        ("", ""),
    ],
)
def test_a_word_is_json_where_it_can_be_and_text_otherwise(word: str, value: object) -> None:
    assert value_of(word) == value


@pytest.mark.parametrize("word", ["nan", "-1", "inf", "1e99", "", "soon"])
def test_times_are_refused_outside_their_bounds(word: str) -> None:
    for read in (seconds, minutes):
        with pytest.raises(argparse.ArgumentTypeError, match="is not"):
            read(word)


@pytest.mark.parametrize("word", ["-1", "1.5", "70000000", "", "x"])
def test_whole_numbers_are_refused_outside_their_bounds(word: str) -> None:
    for read in (count, port):
        with pytest.raises(argparse.ArgumentTypeError, match="is not"):
            read(word)


def test_numbers_within_their_bounds_are_read() -> None:
    assert (seconds("0"), seconds("1.5"), minutes("15")) == (0.0, 1.5, 15.0)
    assert (count("0"), port("65535")) == (0, 65535)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "nonsense"),
        (["call"], "capability"),
        (["status", "--jason"], "--jason"),
        (["init", "lab", "--voters", "2"], "--voters"),
        (["up", "--port", "70000"], "a port from 0 to 65535"),
        (["submit", "lab.add", "--retries", "-1"], "a whole number"),
        (["tasks", "--state", "odd"], "--state"),
        (["pub", "news"], "value"),
        (["pub", "news", "1", "--count", "-1"], "a whole number"),
        (["tail", "news", "--replay", "some"], "a whole number"),
        (["top", "--interval", "-1"], "seconds from 0"),
        (["bench", "ada", "bob"], "bob"),
        (["bench", "--seconds", "soon"], "seconds from 0"),
    ],
)
def test_words_that_do_not_fit_end_with_one_line_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("conclave: ")
    assert err.count("\n") == 1
    assert said in err
    assert "--help`" in err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "init" in capsys.readouterr().out


def test_every_command_has_a_help_text_and_a_module() -> None:
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                assert command.get_default("module").startswith("agents.cli."), name
                assert command.description, name


def test_an_expected_error_is_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--home", str(tmp_path / "none")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("conclave: no node is up in ")
    assert err.count("\n") == 1


def test_init_makes_a_network_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "lab", "--name", "ada", "--home", str(tmp_path / "ada"), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["network"], said["node"], said["voters"]) == ("lab", "ada", 3)
    assert main(words) == 1
    assert "already belongs to a network" in capsys.readouterr().err


def test_a_node_is_named_after_its_host_if_that_is_a_name() -> None:
    assert node_name_of(argparse.Namespace(name="ada")) == "ada"
    assert name_problem(node_name_of(argparse.Namespace(name=None))) is None
