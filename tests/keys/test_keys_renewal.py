"""Renewal: what an issuer gives again, what it refuses, and what a member takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS, NOW_MS, lab

from keys import (
    CertificateRefused,
    Chain,
    GrantRefused,
    Identity,
    RenewalRefused,
    Role,
    accept_renewal,
    make_renewal_request,
    renew_at_ms,
    verify,
)
from keys.certificate import BACKDATE_MS
from keys.errors import (
    RenewalBeyondIssuer,
    RenewalClockOff,
    RenewalMalformed,
    RenewalNotSigned,
    RenewalTooOften,
)
from keys.issuing import Issuer, make_issuer, make_peer
from keys.issuing.issued_book import MAX_FOR_KEY, IssuedBook
from keys.issuing.issuer import MAX_A_MINUTE
from keys.issuing.ticket_book import TicketBook
from keys.refusals import CertificateExpired
from keys.trust import SKEW_MS

LATER_MS = NOW_MS + 60 * DAY_MS


def issuer_at(directory: Path, *, max_roles: Role | None = None) -> Issuer:
    made = lab()
    middle = made.middle
    if max_roles is not None:
        middle = make_issuer(
            made.root, made.top, made.issuer.public_key, "narrow", NOW_MS, max_roles=max_roles
        )
    above = Chain((middle, made.top))
    book = IssuedBook(directory / "issued")
    return Issuer(made.issuer, above, made.genesis(), TicketBook(directory), book)


def own_chain() -> Chain:
    return lab().chain


def ask(chain: Chain | None = None, at_ms: int = LATER_MS, nonce: bytes | None = None) -> bytes:
    return make_renewal_request(lab().peer, chain or own_chain(), at_ms, nonce=nonce)


def test_a_renewed_certificate_differs_in_serial_and_validity_alone(tmp_path: Path) -> None:
    issuer, before = issuer_at(tmp_path), own_chain()
    answer = issuer.renew(ask(), LATER_MS)
    chain = accept_renewal(answer, before, lab().trust, LATER_MS)
    old, new = before.leaf, chain.leaf
    assert (new.public_key, new.name, new.roles, new.namespaces) == (
        old.public_key,
        old.name,
        old.roles,
        old.namespaces,
    )
    assert new.serial != old.serial
    assert new.not_before_ms == LATER_MS - BACKDATE_MS
    assert new.not_after_ms == LATER_MS + 90 * DAY_MS
    assert verify(chain, lab().trust, LATER_MS + 89 * DAY_MS).peer_id == old.peer_id


def test_the_same_request_gets_the_same_bytes_and_another_gets_others(tmp_path: Path) -> None:
    issuer, request = issuer_at(tmp_path), ask()
    first = issuer.renew(request, LATER_MS)
    again = issuer_at(tmp_path)  # started again: the book is all that it knows
    assert again.renew(request, LATER_MS + 60_000) == first
    assert again.renew(ask(), LATER_MS + 60_000) != first
    assert len(issuer.issued.of_key(lab().peer.peer_id)) == 2


def test_it_is_in_the_book_before_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, request = issuer_at(tmp_path), ask()

    def fail(*args: object, **named: object) -> None:
        raise KeyboardInterrupt  # as a kill between the two

    monkeypatch.setattr("keys.issuing.issuer.make_peer", fail)
    with pytest.raises(KeyboardInterrupt):
        issuer.renew(request, LATER_MS)
    monkeypatch.undo()
    (entry,) = issuer.issued.of_key(lab().peer.peer_id)
    assert Chain.decode(issuer.renew(request, LATER_MS)).leaf.serial == entry.serial


def test_another_key_cannot_ask_for_a_member(tmp_path: Path) -> None:
    request = make_renewal_request(Identity.generate(), own_chain(), LATER_MS)
    with pytest.raises(RenewalNotSigned):
        issuer_at(tmp_path).renew(request, LATER_MS)


def test_an_ended_certificate_is_not_renewed(tmp_path: Path) -> None:
    end_ms = own_chain().leaf.not_after_ms + SKEW_MS + 1
    with pytest.raises(CertificateExpired):
        issuer_at(tmp_path).renew(ask(at_ms=end_ms), end_ms)


@pytest.mark.parametrize("ahead_s", [-301, 301])
def test_clocks_that_differ_by_more_than_five_minutes(tmp_path: Path, ahead_s: int) -> None:
    with pytest.raises(RenewalClockOff, match="301 s"):
        issuer_at(tmp_path).renew(ask(at_ms=LATER_MS + ahead_s * 1000), LATER_MS)
    request = ask(at_ms=LATER_MS + (299_000 if ahead_s > 0 else -299_000))
    assert issuer_at(tmp_path).renew(request, LATER_MS)


def test_an_issuer_takes_nothing_away_silently(tmp_path: Path) -> None:
    narrow = issuer_at(tmp_path, max_roles=Role.OBSERVER)
    with pytest.raises(RenewalBeyondIssuer, match="observer"):
        narrow.renew(ask(), LATER_MS)
    assert not list(narrow.issued)


def test_who_asks_again_and_again_is_refused_for_a_minute(tmp_path: Path) -> None:
    issuer = issuer_at(tmp_path)
    requests = [ask() for _ in range(MAX_A_MINUTE)]
    for request in requests:
        issuer.renew(request, LATER_MS)
    with pytest.raises(RenewalTooOften):
        issuer.renew(ask(), LATER_MS)
    assert issuer.renew(requests[0], LATER_MS), "what was given is given again"
    assert issuer.renew(ask(), LATER_MS + 60_001)


def test_the_book_of_one_key_is_bounded_and_forgets_what_ended(tmp_path: Path) -> None:
    issuer = issuer_at(tmp_path)
    for minute in range(MAX_FOR_KEY + 5):
        at_ms = LATER_MS + minute * 40_000
        issuer.renew(ask(at_ms=at_ms), at_ms)
    assert len(issuer.issued.of_key(lab().peer.peer_id)) == MAX_FOR_KEY
    assert issuer.issued.forget_old(LATER_MS + 60 * DAY_MS) == 0
    assert issuer.issued.forget_old(LATER_MS + 92 * DAY_MS) == 1
    assert not list(issuer.issued)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_changed_request_is_granted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    issuer = issuer_at(tmp_path_factory.mktemp("issuer"))
    request = bytearray(ask())
    at = data.draw(st.integers(0, len(request) - 1))
    request[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((RenewalRefused, CertificateRefused)):
        issuer.renew(bytes(request), LATER_MS)
    assert not list(issuer.issued)


@given(st.binary(max_size=400))
def test_garbage_is_malformed(data: bytes) -> None:
    with pytest.raises(RenewalMalformed):
        issuer_at(Path("/nonexistent")).renew(data, LATER_MS)


def test_a_member_takes_nothing_that_is_not_its_own_or_no_better(tmp_path: Path) -> None:
    made, before = lab(), own_chain()
    other = Identity.generate()

    def granted(**changes: object) -> bytes:
        arguments = {
            "public_key": made.peer.public_key,
            "name": before.leaf.name,
            "roles": before.leaf.roles,
            **changes,
        }
        leaf = make_peer(made.issuer, made.middle, now_ms=LATER_MS, **arguments)  # type: ignore[arg-type]
        return Chain((leaf, made.middle, made.top)).encode()

    assert accept_renewal(granted(), before, made.trust, LATER_MS)
    for bad, why in (
        (granted(public_key=other.public_key), "is for"),
        (granted(name="mallory"), "changes"),
        (granted(roles=Role.OBSERVER), "changes"),
        (granted(lifetime_ms=DAY_MS), "sooner"),
        (b"\x90", "chain"),
    ):
        with pytest.raises(GrantRefused, match=why):
            accept_renewal(bad, before, made.trust, LATER_MS)


def test_it_is_asked_for_at_two_thirds_give_or_take_a_twentieth() -> None:
    made = lab()
    shares = []
    for number in range(300):
        leaf = make_peer(
            made.issuer,
            made.middle,
            made.peer.public_key,
            "alpha",
            Role.SERVICE,
            NOW_MS,
            serial=number.to_bytes(16, "big"),
        )
        assert renew_at_ms(leaf) == renew_at_ms(leaf), "a start changes nothing"
        shares.append((renew_at_ms(leaf) - NOW_MS) / (90 * DAY_MS))
    assert 2 / 3 - 0.05 <= min(shares) < 2 / 3 - 0.045
    assert 2 / 3 + 0.045 < max(shares) <= 2 / 3 + 0.05
