"""Structured logs: one line a record, as text for people or JSON for machines, secrets masked.

A record's `extra` fields are printed as `name=value`. Fields whose name says that they hold a
secret are masked, so are tickets anywhere in the text, and control characters from afar are
escaped so that a peer cannot steer a terminal. Records go through a queue: a full disk or a slow
pipe never stops the loop.

What this module does not know: who logs what.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from p2p import TraceContext, current_trace

MASK = "***"
QUEUE_LIMIT = 10_000
_SECRET_NAME = re.compile(r"secret|token|pass|private|authorization|cookie|ticket", re.IGNORECASE)
_NOT_SECRET = frozenset({"fencing_token"})
_TICKET = re.compile(r"conclave1-[A-Za-z0-9_-]{8,}")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def masked(name: str, value: object) -> object:
    """Return the value, or a mask where its name says that it is a secret."""
    if _SECRET_NAME.search(name) and name not in _NOT_SECRET:
        return MASK
    return value


def printable(text: str) -> str:
    """Return the text with tickets and session tokens masked and control characters escaped."""
    text = _JWT.sub(MASK, _TICKET.sub(f"conclave1-{MASK}", text))
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    """Return the text as `printable` does, in one line."""
    return " ".join(printable(text).split())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {k: masked(k, v) for k, v in vars(record).items() if k not in _STANDARD}
    trace = fields.pop("trace", None) or current_trace()
    if isinstance(trace, TraceContext):
        fields["trace"] = trace.trace_id.hex()
    return fields


class TextFormatter(logging.Formatter):
    """`12:31:07.512 INFO membership: peer is dead peer=... after_s=2.5`"""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        area = record.name.removeprefix("conclave.")
        rest = "".join(f" {k}={v}" for k, v in _fields(record).items())
        line = (
            f"{at}.{int(record.msecs):03d} {record.levelname} {area}: {record.getMessage()}{rest}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return printable(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with `at` in RFC 3339 and UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, object] = {
            "at": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "area": record.name.removeprefix("conclave."),
            "message": printable(record.getMessage()),
        }
        for name, value in _fields(record).items():
            said[name] = value if isinstance(value, (int, float, bool)) else printable(str(value))
        if record.exc_info:
            said["exception"] = printable(self.formatException(record.exc_info))
        return json.dumps(said, ensure_ascii=False)


@contextmanager
def logging_to(
    stream: TextIO | None = None, *, level: str = "info", style: str = "text"
) -> Iterator[None]:
    """Send the records of this project to a stream until the block ends.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        style: `text` or `json`.
    """
    target = logging.StreamHandler(stream or sys.stderr)
    target.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_LIMIT)
    entry = _DroppingQueueHandler(waiting)
    listener = logging.handlers.QueueListener(waiting, target)
    root = logging.getLogger("conclave")
    before = root.level, root.propagate
    root.setLevel(level.upper())
    root.propagate = False
    root.addHandler(entry)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(entry)
        listener.stop()
        root.level, root.propagate = before


class _DroppingQueueHandler(logging.handlers.QueueHandler):
    """Drops records when the stream cannot keep up, and says how many when it can again."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.trace = current_trace()
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                text = f"{self.dropped} records were dropped: the log is written too slowly"
                note = {"msg": text, "name": record.name, "levelname": "WARNING"}
                self.queue.put_nowait(logging.makeLogRecord(note))
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
