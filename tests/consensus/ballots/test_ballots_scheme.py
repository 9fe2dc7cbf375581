"""Which signatures are accepted (V6), against what libsodium says of the same bytes."""

from __future__ import annotations

import hashlib

import pytest
from ballots_lab import SCHEME, identity

from consensus.ballots.curve import SMALL_ORDER_Y, L, P, Point, plus, point_of, times
from consensus.ballots.errors import SignatureFault
from consensus.ballots.scheme import encoding_fault, key_fault
from keys import verify_signature

BASE = point_of(4 * pow(5, P - 2, P) % P, 0)
assert BASE is not None
NEUTRAL_SIGNATURE = (1).to_bytes(32, "little") + bytes(32)  # R is neutral, S is zero


def packed(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def small_order_keys() -> list[bytes]:
    """All encodings: both signs, reduced or not, where 32 bytes can hold them."""
    forms = {y + more for y in SMALL_ORDER_Y for more in (0, P) if y + more < 2**255}
    return [(y | sign << 255).to_bytes(32, "little") for y in sorted(forms) for sign in (0, 1)]


def test_v6_the_points_of_small_order_are_those_that_eight_times_make_neutral() -> None:
    for y in SMALL_ORDER_Y - {1, P - 1}:  # whose x is zero
        point = point_of(y, 0)
        assert point is not None
        x, eight_y, z, _ = times(8, point)
        assert x == 0
        assert eight_y == z


@pytest.mark.parametrize("key", small_order_keys(), ids=lambda key: key.hex()[:8])
def test_v6_a_key_of_small_order_is_refused(key: bytes) -> None:
    assert key_fault(key) is SignatureFault.KEY_SMALL_ORDER
    assert not verify_signature(key, "ballot", b"anything", NEUTRAL_SIGNATURE)


@pytest.mark.parametrize("point", small_order_keys(), ids=lambda key: key.hex()[:8])
def test_v6_r_of_small_order_is_refused_by_its_form(point: bytes) -> None:
    fault = encoding_fault(identity(0).public_key, point + bytes(32))
    assert fault in {SignatureFault.R_SMALL_ORDER, SignatureFault.R_NOT_CANONICAL}


def test_v6_an_altered_signature_with_the_same_meaning_is_refused() -> None:
    body = b"a ballot"
    signature = identity(1).sign("ballot", body)
    moved = (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")
    fault = SCHEME.fault(identity(1).public_key, "ballot", body, signature[:32] + moved)
    assert fault is SignatureFault.S_NOT_REDUCED
    assert SCHEME.fault(identity(1).public_key, "ballot", body, signature) is None


def test_v6_keys_and_r_that_are_not_reduced_are_refused() -> None:
    for low in range(2, 19):
        long_form = (P + low).to_bytes(32, "little")
        assert key_fault(long_form) is SignatureFault.KEY_NOT_CANONICAL
        found = encoding_fault(identity(0).public_key, long_form + bytes(32))
        assert found is SignatureFault.R_NOT_CANONICAL


def test_v6_bytes_off_the_curve_are_no_key() -> None:
    faults = [key_fault(number.to_bytes(32, "little")) for number in range(2, 40)]
    assert SignatureFault.KEY_NOT_A_POINT in faults
    assert set(faults) <= {SignatureFault.KEY_NOT_A_POINT, SignatureFault.KEY_MIXED_ORDER, None}


def test_v6_a_key_of_mixed_order_passes_libsodium_and_is_refused_here() -> None:
    secret = 123456789 * 8
    key = packed(plus(times(secret, BASE), (0, P - 1, 1, 0)))  # plus the point of order two
    accepted = [sign_with(secret, key, body) for body in (b"%d" % n for n in range(16))]
    passed = [(body, s) for body, s in accepted if verify_signature(key, "ballot", body, s)]
    assert passed, "about half of them should pass"
    for body, signature in passed:
        fault = SCHEME.fault(key, "ballot", body, signature)
        assert fault is SignatureFault.KEY_MIXED_ORDER


def sign_with(secret: int, key: bytes, body: bytes) -> tuple[bytes, bytes]:
    nonce = int.from_bytes(hashlib.sha512(b"nonce" + body).digest(), "little") % L
    first = packed(times(nonce, BASE))
    message = b"conclave/ballot/v1\0" + body
    challenge = int.from_bytes(hashlib.sha512(first + key + message).digest(), "little") % L
    return body, first + ((nonce + challenge * secret) % L).to_bytes(32, "little")


def test_v6_real_keys_are_accepted_and_wrong_lengths_are_not() -> None:
    for number in range(8):
        assert key_fault(identity(number).public_key) is None
    assert key_fault(b"short") is SignatureFault.LENGTH
    assert encoding_fault(identity(0).public_key, bytes(63)) is SignatureFault.LENGTH
    wrong = SCHEME.fault(identity(0).public_key, "ballot", b"x", identity(1).sign("ballot", b"x"))
    assert wrong is SignatureFault.WRONG


def test_v3_a_signature_for_one_purpose_serves_no_other() -> None:
    signature = identity(0).sign("roster", b"x")
    fault = SCHEME.fault(identity(0).public_key, "ballot", b"x", signature)
    assert fault is SignatureFault.WRONG
