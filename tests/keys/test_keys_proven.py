"""Signatures that are remembered: good ones alone, and nothing but signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS, forge, key, lab, serial

from keys import CertificateRefused, Chain, verify
from keys import rootquorum as under_test
from keys.proven import Proven, digest_of
from keys.refusals import CertificateBadSignature, CertificateExpired
from keys.rootquorum import Authority
from keys.trust import SKEW_MS


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_PROVEN", Proven())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    asked: list[bytes] = []
    real = under_test.verify_signature

    def verify_and_count(public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
        asked.append(body)
        return real(public_key, domain, body, signature)

    monkeypatch.setattr(under_test, "verify_signature", verify_and_count)
    return asked


def test_a_chain_that_comes_again_costs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, made = counted(monkeypatch), lab()
    first = verify(Chain.decode(made.chain.encode()), made.trust, NOW_MS)
    assert len(asked) == 3
    assert verify(Chain.decode(made.chain.encode()), made.trust, NOW_MS) == first
    assert len(asked) == 3


def test_time_is_asked_each_time() -> None:
    made = lab()
    verify(made.chain, made.trust, NOW_MS)
    with pytest.raises(CertificateExpired):
        verify(made.chain, made.trust, made.leaf.not_after_ms + SKEW_MS + 1)


def test_bad_signatures_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab()
    forged = forge(key(9), made.leaf, f3=serial(9))
    asked = counted(monkeypatch)
    for _ in range(3):
        with pytest.raises(CertificateBadSignature):
            verify(Chain((forged, made.middle, made.top)), made.trust, NOW_MS)
    assert asked.count(forged.body) == 3
    assert len(under_test._PROVEN) == 2


@given(st.sampled_from([0, 2, 3]), st.data())
def test_nothing_but_the_very_same_is_taken(which: int, data: st.DataObject) -> None:
    signer = key(7)
    parts = [signer.public_key, b"test", b"some body", signer.sign("test", b"some body")]
    assert Authority(parts[0]).has_signed("test", parts[2], parts[3])
    at = data.draw(st.integers(0, len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[at] ^= 1 << data.draw(st.integers(0, 6))
    parts[which] = bytes(changed)
    assert not Authority(parts[0]).has_signed("test", parts[2], parts[3])
    assert not Authority(signer.public_key).has_signed("toast", b"some body", parts[3])


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_different_parts_have_different_digests(one: list[bytes], other: list[bytes]) -> None:
    assert (digest_of(*one) == digest_of(*other)) == (one == other)


def test_the_oldest_are_forgotten() -> None:
    proven = Proven(limit=3)
    for number in range(5):
        proven.add(bytes([number]))
    assert len(proven) == 3
    assert [bytes([number]) in proven for number in range(5)] == [False, False, True, True, True]


def test_a_revoked_or_foreign_chain_is_refused_also_when_its_signatures_are_known() -> None:
    made, other = lab(), lab(11)
    verify(made.chain, made.trust, NOW_MS)
    with pytest.raises(CertificateRefused):
        verify(made.chain, other.trust, NOW_MS)
