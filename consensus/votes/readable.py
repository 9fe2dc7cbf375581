"""JSON that people read and machines believe: one document for each value, strictly read back.

A document has fields that people want and that follow from others (peer ids, sums). Whoever reads
one builds the value from its own fields, writes the document anew and compares the two (`same`), so
that no shown number differs from the signed ones and nothing is there that nobody checked.

What this module does not know: which documents there are. It raises `Malformed` only.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final, NoReturn

from consensus.votes.wire import MAX_NUMBER, Malformed

MAX_JSON_BYTES: Final = 4 * 1024 * 1024  # two certificates whose every character is escaped

Document = dict[str, object]


def written(document: object) -> str:
    """The document as text: two spaces deep, fields in their order, everything in ASCII."""
    return json.dumps(document, indent=2) + "\n"


def read(text: str | bytes) -> Document:
    """
    Raises:
        Malformed: not one JSON object of our kind: too long, no JSON, a fraction, a field twice.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_JSON_BYTES:
        raise Malformed(f"{len(data)} bytes of JSON, and the limit is {MAX_JSON_BYTES}")
    try:
        document = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON in UTF-8") from error
    return as_object(document, "the document")


def same(document: object, built: object) -> bool:
    """Whether both are the same document, up to the order of fields."""
    return json.dumps(document, sort_keys=True) == json.dumps(built, sort_keys=True)


def as_object(value: object, what: str) -> Document:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not an object")
    return value


def objects(of: Document, name: str, limit: int) -> list[Document]:
    value = of.get(name)
    if not isinstance(value, list) or len(value) > limit:
        raise Malformed(f"{name} is not a list of at most {limit}")
    return [as_object(item, f"an item of {name}") for item in value]


def inner(of: Document, name: str) -> Document:
    return as_object(of.get(name), name)


def text(of: Document, name: str) -> str:
    value = of.get(name)
    if type(value) is not str:
        raise Malformed(f"{name} is not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{name} holds half a surrogate pair") from error
    return value


def number(of: Document, name: str) -> int:
    value = of.get(name)
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise Malformed(f"{name} is not an integer from 0 to {MAX_NUMBER}")
    return value


def flag(of: Document, name: str) -> bool:
    value = of.get(name)
    if type(value) is not bool:
        raise Malformed(f"{name} is neither true nor false")
    return value


def data(of: Document, name: str, size_bytes: int | None = None) -> bytes:
    """Bytes that stand there in base64."""
    try:
        value = base64.b64decode(text(of, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{name} is not base64") from error
    if size_bytes is not None and len(value) != size_bytes:
        raise Malformed(f"{name} is {len(value)} bytes, not {size_bytes}")
    return value


def hexadecimal(of: Document, name: str, size_bytes: int) -> bytes:
    try:
        value = bytes.fromhex(text(of, name))
    except ValueError as error:
        raise Malformed(f"{name} is not hexadecimal") from error
    if len(value) != size_bytes:
        raise Malformed(f"{name} is {len(value)} bytes, not {size_bytes}")
    return value


def shown(value: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(value).decode()


def _object(pairs: list[tuple[str, object]]) -> Document:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("an object has a field twice")
    return found


def _no_fraction(literal: str) -> NoReturn:
    raise Malformed(f"{literal[:40]} is not an integer")
