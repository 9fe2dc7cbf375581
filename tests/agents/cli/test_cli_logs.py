"""Logs: secrets masked, terminals safe, and a slow reader never in the way."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from agents.observe import logging_to, masked, one_line, printable

TICKET = "conclave1-AbCdEfGh0123456789_-"


def logged(style: str, message: str, *args: object, **extra: object) -> str:
    stream = io.StringIO()
    with logging_to(stream, level="debug", style=style):
        logging.getLogger("conclave.lab").info(message, *args, extra=extra)
    return stream.getvalue()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_ticket_is_masked_wherever_it_stands(style: str) -> None:
    for said in (
        logged(style, "joined with " + TICKET),
        logged(style, "joined with %s", TICKET),
        logged(style, "joined", line=TICKET),
    ):
        assert TICKET not in said
        assert "conclave1-***" in said


@pytest.mark.parametrize("name", ["secret", "ticket", "passphrase", "private_key", "auth_token"])
def test_fields_that_are_called_like_secrets_are_masked(name: str) -> None:
    assert masked(name, "x") == "***"
    for style in ("text", "json"):
        assert "s3cr3t" not in logged(style, "said", **{name: "s3cr3t"})


def test_a_fencing_token_is_no_secret() -> None:
    assert "fencing_token=42" in logged("text", "told", fencing_token=42)


def test_what_a_peer_says_cannot_steer_a_terminal_or_forge_a_line() -> None:
    evil = "\x1b[2J\x07\u202e\u2028hello\r"
    assert printable(evil) == "\\x1b[2J\\x07\\u202e\\u2028hello\\r"
    assert "\x1b" not in logged("text", "%s says", evil, name_=evil)
    said = logged("json", "one\ntwo", name_=evil)
    assert said.count("\n") == 1
    assert json.loads(said)["message"] == "one\ntwo"


def test_one_line_is_one_line() -> None:
    assert one_line("  no luck\n and\r\n\tmore \x1b[31m") == "no luck and\\r more \\x1b[31m"


def test_a_record_is_one_line_of_text_or_one_object() -> None:
    text = logged("text", "peer is %s", "dead", peer="ada", after_s=2.5)
    assert text.endswith(" INFO lab: peer is dead peer=ada after_s=2.5\n")
    said = json.loads(logged("json", "peer is %s", "dead", peer="ada", after_s=2.5))
    assert said["at"].endswith("Z")
    del said["at"]
    assert said == {
        "level": "info",
        "area": "lab",
        "message": "peer is dead",
        "peer": "ada",
        "after_s": 2.5,
    }


def test_the_level_keeps_what_is_below_it_out_and_ends_with_the_block() -> None:
    stream = io.StringIO()
    log = logging.getLogger("conclave.lab")
    with logging_to(stream, level="warning"):
        log.info("no")
        log.warning("yes")
    log.error("after")
    assert "yes" in stream.getvalue()
    assert "no" not in stream.getvalue().replace("not", "")
    assert "after" not in stream.getvalue()


def test_an_exception_is_shown_with_the_record() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        try:
            raise ValueError(TICKET)
        except ValueError:
            logging.getLogger("conclave.lab").exception("failed")
    assert "ValueError: conclave1-***" in stream.getvalue()


class StuckStream(io.StringIO):
    """A pipe that nobody reads until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.go_on.wait(10)
        return super().write(text)


def test_a_stuck_pipe_stops_nobody_and_what_was_lost_is_counted() -> None:
    stream = StuckStream()
    log = logging.getLogger("conclave.lab")
    with logging_to(stream):
        for number in range(10_200):
            log.info("record %d", number)
        stream.go_on.set()
        while "record 9000" not in stream.getvalue():
            pass
        log.info("the last")
    assert "records were dropped" in stream.getvalue()
    assert "the last" in stream.getvalue()
