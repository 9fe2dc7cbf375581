"""Certificates as text, and from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ballots_lab import SCHEME
from certificate_lab import (
    APPROVED,
    FOUR,
    LIAR,
    REJECTED,
    VETOED,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.certificate_json import from_json, to_json
from consensus.ballots.errors import CertificateInvalid
from consensus.ballots.verify import verify


@pytest.mark.parametrize("certificate", [APPROVED, REJECTED, VETOED, LIAR])
def test_json_is_the_same_certificate(certificate: QuorumCertificate) -> None:
    text = to_json(certificate)
    assert from_json(text) == certificate
    assert from_json(text.encode()).to_bytes() == certificate.to_bytes()
    assert from_json(json.dumps(json.loads(text), sort_keys=True)) == certificate


def test_json_that_shows_something_else_than_what_was_signed_is_refused() -> None:
    def changed(path: tuple[Any, ...], value: object) -> str:
        document = json.loads(to_json(APPROVED))
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return json.dumps(document)

    for path, value in [
        (("format",), "other/1"),
        (("proposal", "digest"), "00" * 32),
        (("electorate", "total_weight"), 3),
        (("electorate", "electors", 0, "may_veto"), 1),
        (("electorate", "electors", 0, "weight"), 1.0),
        (("electorate", "electors", 0, "weight"), True),
        (("ballots", 0, "voter"), "somebody"),
        (("ballots", 0, "extra"), 1),
        (("ballots", 0, "signature"), "00"),
        (("ballots", 0, "choice"), "APPROVE"),
        (("outcome",), "expired"),
        (("proposal", "round"), -1),
        (("proposal", "threshold"), [2, 3, 4]),
        (("proposal", "question"), "\ud800"),
        (("proposal", "subject_base64"), "A"),
    ]:
        with pytest.raises(CertificateInvalid):
            from_json(changed(path, value))
    twice = to_json(APPROVED).replace('"outcome"', '"outcome": "rejected", "outcome"', 1)
    with pytest.raises(CertificateInvalid):
        from_json(twice)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(_JSON, st.sampled_from(sorted(json.loads(to_json(APPROVED))["proposal"])), st.binary())
def test_json_from_anywhere_is_refused_by_one_error(value: Any, key: str, data: bytes) -> None:
    document = json.loads(to_json(APPROVED))
    document["proposal"][key] = value
    other = json.loads(to_json(APPROVED))
    other["electorate"]["electors"][0] = value
    last = json.loads(to_json(APPROVED))
    last["ballots"][0]["reason"] = value
    for each in (value, document, other, last):
        with suppress(CertificateInvalid):
            verify(from_json(json.dumps(each)).to_bytes(), SCHEME)
    with suppress(CertificateInvalid):
        from_json(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 2000))
def test_bytes_from_anywhere_are_refused_by_one_error(data: bytes, start: int, end: int) -> None:
    good = APPROVED.to_bytes()
    for each in (data, good[:start] + data + good[end:]):
        with suppress(CertificateInvalid):
            assert verify(each, SCHEME).proposal == FOUR


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(CertificateInvalid):
        from_json("[" * 200_000)


_PRINT = """
import sys
sys.path.insert(0, {folder!r})
from certificate_lab import APPROVED, LIAR
from consensus.ballots import to_json
print(APPROVED.to_bytes().hex(), LIAR.to_bytes().hex(), to_json(LIAR))
"""


def test_two_processes_make_equal_certificates_whatever_their_hash_seed() -> None:
    folder = str(Path(__file__).parent)
    texts = {
        subprocess.run(
            [sys.executable, "-c", _PRINT.format(folder=folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert APPROVED.to_bytes().hex().encode() in texts.pop()
