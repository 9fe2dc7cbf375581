"""Ways around a revocation that were tried: each is closed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from keys_lab import DAY_MS, NOW_MS, fields_of, key, lab
from revocation_lab import issuers_list, roots_list, trusting
from roots_lab import line_of, single

from keys import (
    Chain,
    Revocations,
    Trust,
    entry_of_all,
    entry_of_key,
    make_renewal_request,
    next_list,
    pack_list,
    read_list,
    verify,
)
from keys.certificate import (
    MAX_RENEWED_FROM,
    RENEWED_FROM,
    Certificate,
    encode_renewed_from,
    sign_certificate,
)
from keys.errors import RenewalBeyondIssuer
from keys.identity import fingerprint
from keys.issuing import Issuer, make_issuer
from keys.issuing.issued_book import IssuedBook
from keys.issuing.ticket_book import TicketBook
from keys.refusals import CertificateMalformed, CertificateRevoked

LAB = lab()
LATER_MS = NOW_MS + 60 * DAY_MS


def other_issuer(directory: Path, seed: int = 5) -> Issuer:
    middle = make_issuer(LAB.root, LAB.top, key(seed).public_key, f"issuer-{seed}", NOW_MS)
    book, above = IssuedBook(directory / f"issued-{seed}"), Chain((middle, LAB.top))
    return Issuer(key(seed), above, LAB.genesis(), TicketBook(directory), book)


def renewed_by(issuer: Issuer, chain: Chain, at_ms: int = LATER_MS) -> Chain:
    return Chain.decode(issuer.renew(make_renewal_request(LAB.peer, chain, at_ms), at_ms))


# -- renewed elsewhere -----------------------------------------------------------------------------


def test_a_renewal_by_another_issuer_does_not_outlive_the_first_one_s_revocation(
    tmp_path: Path,
) -> None:
    elsewhere = renewed_by(other_issuer(tmp_path), LAB.chain)
    assert verify(elsewhere, LAB.trust, LATER_MS).issuer_key_id == fingerprint(key(5).public_key)
    listed = issuers_list(LAB, entry_of_key(LAB.leaf.key_id, LAB.middle, LATER_MS))
    with pytest.raises(CertificateRevoked):
        verify(elsewhere, trusting(LAB, listed), LATER_MS)


def test_what_a_stolen_issuer_s_key_has_made_goes_with_it_though_another_renewed_it(
    tmp_path: Path,
) -> None:
    first, second = other_issuer(tmp_path, 5), other_issuer(tmp_path, 6)
    elsewhere = renewed_by(second, renewed_by(first, LAB.chain), LATER_MS + DAY_MS)
    gone = roots_list(LAB, entry_of_key(LAB.middle.key_id, LAB.top, LATER_MS))
    with pytest.raises(CertificateRevoked):
        verify(elsewhere, trusting(LAB, gone), LATER_MS + DAY_MS)
    between = roots_list(LAB, entry_of_key(fingerprint(key(5).public_key), LAB.top, LATER_MS))
    with pytest.raises(CertificateRevoked):
        verify(elsewhere, trusting(LAB, between), LATER_MS + DAY_MS)


def test_who_was_renewed_after_a_cutoff_stays(tmp_path: Path) -> None:
    elsewhere = renewed_by(other_issuer(tmp_path), LAB.chain)
    for cutoff_ms, is_good in ((LATER_MS, True), (LATER_MS + 1, False)):
        entry = entry_of_key(LAB.leaf.key_id, LAB.middle, LATER_MS, before_ms=cutoff_ms)
        trust = trusting(LAB, issuers_list(LAB, entry))
        if is_good:
            verify(elsewhere, trust, LATER_MS)
            continue
        with pytest.raises(CertificateRevoked):
            verify(elsewhere, trust, LATER_MS)


def test_an_issuer_revokes_nobody_whom_it_never_had(tmp_path: Path) -> None:
    elsewhere = renewed_by(other_issuer(tmp_path, 5), LAB.chain)
    stranger = other_issuer(tmp_path, 6)
    entries = [
        entry_of_key(LAB.leaf.key_id, stranger.chain.leaf, LATER_MS),
        entry_of_all(LATER_MS + 1, stranger.chain.leaf, LATER_MS),
    ]
    listed = stranger.revoke(Revocations(), entries, LATER_MS)
    verify(elsewhere, trusting(LAB, listed), LATER_MS)


def test_the_same_issuer_leaves_no_trace_and_the_same_request_gets_the_same_bytes(
    tmp_path: Path,
) -> None:
    first = other_issuer(tmp_path, 5)
    once = renewed_by(first, LAB.chain)
    assert once.leaf.renewed_from == (LAB.middle.key_id,)
    assert renewed_by(first, once, LATER_MS + DAY_MS).leaf.renewed_from == (LAB.middle.key_id,)
    request = make_renewal_request(LAB.peer, once, LATER_MS + DAY_MS)
    again = other_issuer(tmp_path, 5)  # read from the disk
    answers = [each.renew(request, LATER_MS + DAY_MS) for each in (first, again)]
    assert len({Chain.decode(answer).leaf.raw for answer in answers}) == 1


def test_issuers_are_not_forgotten_by_asking_many(tmp_path: Path) -> None:
    chain = LAB.chain
    for seed in range(20, 20 + MAX_RENEWED_FROM):
        chain = renewed_by(other_issuer(tmp_path, seed), chain)
    assert len(chain.leaf.renewed_from) == MAX_RENEWED_FROM
    with pytest.raises(RenewalBeyondIssuer):
        renewed_by(other_issuer(tmp_path, 40), chain)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        encode_renewed_from([]),
        encode_renewed_from([b"short"]),
        encode_renewed_from([bytes([n] * 32) for n in range(9)]),
    ],
)
def test_a_trace_that_is_none_is_malformed(value: bytes) -> None:
    made = LAB.leaf
    with pytest.raises(CertificateMalformed):
        _with_extension(made, value)


def _with_extension(made: Certificate, value: bytes) -> Certificate:
    fields = {k: v for k, v in fields_of(made.body).items() if k != 1}
    return sign_certificate(LAB.issuer, {**fields, 17: {RENEWED_FROM: value}})


# -- an old root -----------------------------------------------------------------------------------


def test_a_root_that_was_replaced_takes_nothing_back_below_its_successor() -> None:
    """Its key may be why it was replaced."""
    old, new = single(1), single(7)
    made = line_of([old, new])
    trust = Trust(made.chain.leaf.network_id)
    first = Chain((made.chain.certificates[-1],))
    entries = [
        entry_of_key(made.chain.certificates[1].key_id, first.leaf, LATER_MS),
        entry_of_all(LATER_MS, first.leaf, LATER_MS),
    ]
    listed = read_list(
        pack_list(next_list(old, first, Revocations(), entries, LATER_MS)), trust, LATER_MS
    )
    verify(made.chain, replace(trust, revocations=Revocations().taking(listed)), NOW_MS)


def test_nor_does_it_give_back_what_the_issuers_below_its_successor_took() -> None:
    """A root's word about an issuer's key drops that issuer's list; not that of a former root."""
    old, new = single(1), single(7)
    made = line_of([old, new])
    first, issuers = Chain((made.line[-1],)), Chain((made.middle, *made.line))
    theirs = next_list(
        made.issuer,
        issuers,
        Revocations(),
        [entry_of_key(made.leaf.key_id, made.middle, LATER_MS)],
        LATER_MS,
    )
    liar = next_list(
        old,
        first,
        Revocations(),
        [entry_of_key(made.middle.key_id, first.leaf, LATER_MS)],
        LATER_MS,
    )
    for lists in ([theirs, liar], [liar, theirs]):
        known = Revocations()
        for each in lists:
            known = known.taking(each)
        with pytest.raises(CertificateRevoked):
            verify(made.chain, Trust(made.chain.leaf.network_id, revocations=known), NOW_MS)


def test_a_successor_s_list_means_what_the_root_before_it_signed_too() -> None:
    old, new = single(1), single(7)
    former, made = line_of([old]), line_of([old, new])
    entry = entry_of_key(former.middle.key_id, made.line[0], LATER_MS)
    listed = next_list(new, Chain(made.line), Revocations(), [entry], LATER_MS)
    with pytest.raises(CertificateRevoked):
        verify(
            former.chain, replace(former.trust, revocations=Revocations().taking(listed)), NOW_MS
        )
