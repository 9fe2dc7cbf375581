"""Secret files: what opens them, and that a hostile one costs a refusal and no more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.canonical import decode, encode
from keys.errors import (
    InvalidValue,
    KeystoreError,
    PassphraseNeeded,
    PassphraseWrong,
    SecretUnreadable,
)
from keys.sealed import DEFAULT_COST, MAX_MEMORY_BYTES, MAX_OPERATIONS, Cost, seal, unseal

PATH = Path("identity.key")
SECRET = bytes(range(32))
QUICK = Cost(1, 8192)
SEALED = seal("identity", SECRET, "correct horse", cost=QUICK)


def changed(data: bytes, **changes: object) -> bytes:
    fields = decode(data, 4096)
    assert isinstance(fields, dict)
    return encode({**fields, **{int(name[1:]): value for name, value in changes.items()}})


def test_the_passphrase_opens_what_it_sealed() -> None:
    assert SECRET not in SEALED
    assert unseal(PATH, "identity", SEALED, "correct horse") == SECRET


def test_without_a_passphrase_the_secret_stands_open() -> None:
    data = seal("identity", SECRET, None)
    assert unseal(PATH, "identity", data, None) == SECRET
    assert unseal(PATH, "identity", data, "not needed") == SECRET


def test_the_default_work_is_within_what_is_read_back() -> None:
    assert DEFAULT_COST.operations <= MAX_OPERATIONS
    assert 64 << 20 <= DEFAULT_COST.memory_bytes <= MAX_MEMORY_BYTES


def test_a_wrong_or_missing_passphrase_is_told() -> None:
    with pytest.raises(PassphraseWrong):
        unseal(PATH, "identity", SEALED, "Correct horse")
    with pytest.raises(PassphraseWrong):
        unseal(PATH, "identity", SEALED, "")
    with pytest.raises(PassphraseNeeded):
        unseal(PATH, "identity", SEALED, None)
    with pytest.raises(InvalidValue):
        seal("identity", SECRET, "")


def test_the_same_letters_typed_on_another_keyboard_are_the_same_passphrase() -> None:
    data = seal("identity", SECRET, "Z\u00fcrich", cost=QUICK)
    assert unseal(PATH, "identity", data, "Zu\u0308rich") == SECRET


def test_two_files_with_one_passphrase_have_nothing_in_common() -> None:
    other = seal("identity", SECRET, "correct horse", cost=QUICK)
    ours, theirs = decode(SEALED, 4096), decode(other, 4096)
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert all(ours[field] != theirs[field] for field in (4, 7, 8))


def test_a_key_for_one_purpose_is_not_taken_for_another() -> None:
    with pytest.raises(SecretUnreadable, match="root"):
        unseal(PATH, "identity", seal("root", SECRET, None), None)
    with pytest.raises(PassphraseWrong):
        unseal(PATH, "root", changed(SEALED, f2="root"), "correct horse")


@pytest.mark.parametrize(
    "changes",
    [
        {"f5": MAX_OPERATIONS + 1},
        {"f5": 2**53 - 1},
        {"f5": 0},
        {"f6": MAX_MEMORY_BYTES + 1},
        {"f6": 2**53 - 1},
        {"f6": 8191},
        {"f1": 2},
        {"f3": "scrypt"},
        {"f3": "none"},
        {"f4": bytes(15)},
        {"f7": bytes(23)},
        {"f8": bytes(47)},
        {"f8": bytes(4096)},
        {"f9": 1},
    ],
)
def test_a_hostile_file_is_refused_before_any_work_is_done(changes: dict[str, object]) -> None:
    begun = time.process_time()
    with pytest.raises(SecretUnreadable):
        unseal(PATH, "identity", changed(SEALED, **changes), "correct horse")
    assert time.process_time() - begun < 0.5


def test_an_open_file_with_fields_of_a_sealed_one_is_refused() -> None:
    data = seal("identity", SECRET, None)
    for changes in ({"f4": b"x"}, {"f5": 1}, {"f6": 1}, {"f7": b"x"}, {"f8": b""}):
        with pytest.raises(SecretUnreadable):
            unseal(PATH, "identity", changed(data, **changes), None)


def test_no_byte_of_a_sealed_file_can_be_changed() -> None:
    for position in range(len(SEALED)):
        broken = bytearray(SEALED)
        broken[position] ^= 1
        with pytest.raises((SecretUnreadable, PassphraseWrong)):
            unseal(PATH, "identity", bytes(broken), "correct horse")


def test_a_file_cut_off_anywhere_is_refused() -> None:
    for data in (SEALED, seal("identity", SECRET, None)):
        for length in range(len(data)):
            with pytest.raises(SecretUnreadable):
                unseal(PATH, "identity", data[:length], "correct horse")


@given(st.binary(max_size=600))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(KeystoreError):
        unseal(PATH, "identity", data, "correct horse")
