"""One revocation list: its bytes, who may sign it, what it may mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import BOTH, DAY_MS, HOUR_MS, NOW_MS, key, lab, serial
from revocation_lab import issuers_list, roots_list, trusting

from keys import (
    Chain,
    Entry,
    EntryKind,
    InvalidValue,
    ListInForce,
    RevocationConflict,
    RevocationOlder,
    RevocationRefused,
    Revocations,
    Trust,
    entry_of_all,
    entry_of_key,
    entry_of_serial,
    next_list,
    pack_list,
    read_list,
    verify,
)
from keys.canonical import encode
from keys.certificate import BACKDATE_MS
from keys.issuing import make_issuer, make_peer
from keys.refusals import CertificateRevoked
from keys.revocation import DOMAIN, MAX_ENTRIES, MAX_LIST_BYTES, RevocationList
from keys.revocation_refusals import (
    RevocationBadSignature,
    RevocationFuture,
    RevocationListFull,
    RevocationListMalformed,
    RevocationListTooLarge,
    RevocationNotAnIssuer,
    RevocationSignerRevoked,
)

LAB = lab()
OTHER = lab(11)
PEER = entry_of_key(LAB.leaf.key_id, LAB.middle, NOW_MS, reason="stolen")


def refused(chain: Chain, trust: Trust, now_ms: int = NOW_MS) -> CertificateRevoked:
    with pytest.raises(CertificateRevoked) as caught:
        verify(chain, trust, now_ms)
    return caught.value


def second_issuer() -> tuple[Chain, Chain]:
    """The chain of another issuer (key 5), and one of our peer below it."""
    middle = make_issuer(LAB.root, LAB.top, key(5).public_key, "beta-issuer", NOW_MS)
    leaf = make_peer(key(5), middle, LAB.peer.public_key, "alpha", BOTH, NOW_MS)
    return Chain((middle, LAB.top)), Chain((leaf, middle, LAB.top))


# -- what is revoked -------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_by_name_and_says_by_whom_and_why() -> None:
    error = refused(LAB.chain, trusting(LAB, issuers_list(LAB, PEER)))
    assert (error.name, error.by, error.reason) == ("alpha", "alpha-issuer", "stolen")
    assert "'alpha' was revoked by 'alpha-issuer' on 2023-11-14 22:13 UTC (stolen)" in str(error)


def test_a_revoked_serial_is_refused_and_another_certificate_of_the_key_is_not() -> None:
    trust = trusting(LAB, issuers_list(LAB, entry_of_serial(serial(3), LAB.middle, NOW_MS)))
    refused(LAB.chain, trust)
    again = make_peer(LAB.issuer, LAB.middle, LAB.peer.public_key, "alpha", BOTH, NOW_MS)
    assert verify(Chain((again, LAB.middle, LAB.top)), trust, NOW_MS).name == "alpha"


def test_others_stay_members() -> None:
    trust = trusting(LAB, issuers_list(LAB, PEER))
    other = make_peer(LAB.issuer, LAB.middle, key(6).public_key, "beta", BOTH, NOW_MS)
    assert verify(Chain((other, LAB.middle, LAB.top)), trust, NOW_MS).name == "beta"


def test_an_issuer_takes_back_only_what_it_gave_itself() -> None:
    _, below_second = second_issuer()
    trust = trusting(LAB, issuers_list(LAB, PEER, entry_of_all(NOW_MS, LAB.middle, NOW_MS)))
    assert verify(below_second, trust, NOW_MS).name == "alpha"
    refused(LAB.chain, trust)


def test_an_issuer_cannot_take_back_another_issuer() -> None:
    chain, below_second = second_issuer()
    entry = entry_of_key(chain.leaf.key_id, LAB.middle, NOW_MS)
    assert verify(below_second, trusting(LAB, issuers_list(LAB, entry)), NOW_MS).name == "alpha"


@pytest.mark.parametrize("which", ["key", "serial"])
def test_the_root_takes_back_an_issuer_and_all_that_it_signed(which: str) -> None:
    entry = {
        "key": entry_of_key(LAB.middle.key_id, LAB.top, NOW_MS),
        "serial": entry_of_serial(LAB.middle.serial, LAB.top, NOW_MS),
    }[which]
    error = refused(LAB.chain, trusting(LAB, roots_list(LAB, entry)))
    assert (error.name, error.by) == ("alpha-issuer", "lan")


def test_the_root_takes_back_peers_of_every_issuer() -> None:
    _, below_second = second_issuer()
    trust = trusting(LAB, roots_list(LAB, entry_of_key(LAB.leaf.key_id, LAB.top, NOW_MS)))
    refused(LAB.chain, trust)
    refused(below_second, trust)


@pytest.mark.parametrize(("late_ms", "is_refused"), [(-1, True), (0, False), (1, False)])
def test_a_cutoff_counts_from_when_it_was_issued_and_not_from_its_earlier_date(
    late_ms: int, is_refused: bool
) -> None:
    made_ms = NOW_MS + HOUR_MS
    leaf = make_peer(LAB.issuer, LAB.middle, LAB.peer.public_key, "alpha", BOTH, made_ms + late_ms)
    assert leaf.not_before_ms == made_ms + late_ms - BACKDATE_MS
    for entry in (
        entry_of_all(made_ms, LAB.middle, made_ms),
        entry_of_key(leaf.key_id, LAB.middle, made_ms, before_ms=made_ms),
    ):
        trust = trusting(LAB, issuers_list(LAB, entry, now_ms=made_ms))
        chain = Chain((leaf, LAB.middle, LAB.top))
        if is_refused:
            refused(chain, trust, made_ms)
        else:
            verify(chain, trust, made_ms)


def test_a_cutoff_rather_means_too_much_where_the_date_says_too_little() -> None:
    """Issued with its issuer: then it is dated back less, nobody can tell by how much."""
    cutoff = entry_of_all(LAB.leaf.not_before_ms + 1, LAB.middle, NOW_MS)
    refused(LAB.chain, trusting(LAB, issuers_list(LAB, cutoff)))


def test_every_principal_can_be_judged_again_without_its_chain() -> None:
    principal = verify(LAB.chain, LAB.trust, NOW_MS)
    for made in (
        issuers_list(LAB, PEER),
        roots_list(LAB, entry_of_key(LAB.middle.key_id, LAB.top, NOW_MS)),
    ):
        with pytest.raises(CertificateRevoked):
            trusting(LAB, made).revocations.check(principal.lineage)
    Revocations().check(principal.lineage)


# -- which list is taken ---------------------------------------------------------------------------


def test_a_list_is_read_back_and_verified() -> None:
    made = issuers_list(LAB, PEER)
    assert read_list(pack_list(made), LAB.trust, NOW_MS) == made
    top = roots_list(LAB, PEER)
    assert read_list(pack_list(top), LAB.trust, NOW_MS).is_root


def test_a_list_of_an_issuer_whose_time_is_over_still_counts() -> None:
    """It only takes back; forgetting it would give back."""
    made = issuers_list(LAB, PEER)
    assert read_list(pack_list(made), LAB.trust, NOW_MS + 1000 * DAY_MS) == made


def test_a_list_of_another_network_is_refused() -> None:
    with pytest.raises(RevocationNotAnIssuer, match="network"):
        read_list(pack_list(issuers_list(OTHER)), LAB.trust, NOW_MS)


def test_a_list_signed_by_a_peer_is_refused() -> None:
    listed = next_list(LAB.peer, LAB.chain, Revocations(), [PEER], NOW_MS)
    with pytest.raises(RevocationNotAnIssuer):
        read_list(pack_list(listed), LAB.trust, NOW_MS)


def test_a_list_signed_by_another_than_it_names_is_refused() -> None:
    forged = next_list(key(9), Chain((LAB.middle, LAB.top)), Revocations(), [PEER], NOW_MS)
    with pytest.raises(RevocationBadSignature, match="alpha-issuer"):
        read_list(pack_list(forged), LAB.trust, NOW_MS)


def test_a_list_with_the_chain_of_another_issuer_is_refused() -> None:
    chain, _ = second_issuer()
    mixed = encode([issuers_list(LAB, PEER).list.raw, chain.encode()])
    with pytest.raises(RevocationBadSignature):
        read_list(mixed, LAB.trust, NOW_MS)


def test_a_list_from_the_future_is_refused_and_a_clock_may_differ_a_little() -> None:
    made = issuers_list(LAB, PEER, now_ms=NOW_MS + 121_000)
    with pytest.raises(RevocationFuture, match="121 s from now"):
        read_list(pack_list(made), LAB.trust, NOW_MS)
    read_list(pack_list(made), LAB.trust, NOW_MS + 1000)


def test_an_older_list_is_refused_and_another_with_the_same_number_is_a_conflict() -> None:
    first = issuers_list(LAB)
    known = Revocations().taking(first)
    second = issuers_list(LAB, PEER, known=known)
    assert second.list.sequence == 2
    later = known.taking(second)
    with pytest.raises(RevocationOlder, match="number 1, and number 2 is known"):
        later.taking(first)
    assert later.taking(second) is later
    other = issuers_list(LAB, known=known, now_ms=NOW_MS + 1)
    with pytest.raises(RevocationConflict):
        later.taking(other)
    assert later.of(LAB.middle.key_id) is second


def test_the_list_of_an_issuer_whose_key_is_revoked_counts_no_more_in_either_order() -> None:
    theirs = issuers_list(LAB, PEER)
    top = roots_list(LAB, entry_of_key(LAB.middle.key_id, LAB.top, NOW_MS))
    first = Revocations().taking(theirs).taking(top)
    assert [each.key_id for each in first] == [LAB.top.key_id]
    with pytest.raises(RevocationSignerRevoked):
        Revocations().taking(top).taking(theirs)
    assert first.head == Revocations().taking(top).head


def test_a_list_that_is_past_its_time_still_revokes_and_is_stale() -> None:
    made = issuers_list(LAB, PEER)
    revocations = Revocations().taking(made)
    assert revocations.stale(NOW_MS + 7 * DAY_MS) is None
    which = revocations.stale(NOW_MS + 7 * DAY_MS + 5)
    assert which is not None
    assert (which[0], which[1]) == (made, 5)
    refused(LAB.chain, replace(LAB.trust, revocations=revocations), NOW_MS + 8 * DAY_MS)
    assert Revocations().stale(NOW_MS) is None
    assert revocations.stale(NOW_MS + 400 * DAY_MS) is None  # its issuer is over, with all below


# -- how a list grows and shrinks ------------------------------------------------------------------


def test_entries_fall_out_when_everything_that_they_could_mean_has_ended() -> None:
    one = entry_of_serial(LAB.leaf.serial, LAB.middle, NOW_MS)
    known = Revocations().taking(issuers_list(LAB, PEER, one))
    assert issuers_list(LAB, known=known, now_ms=NOW_MS + 90 * DAY_MS).list.entries == (one, PEER)
    assert issuers_list(LAB, known=known, now_ms=NOW_MS + 91 * DAY_MS).list.entries == (PEER,)
    assert issuers_list(LAB, known=known, now_ms=NOW_MS + 366 * DAY_MS).list.entries == (PEER,)
    assert issuers_list(LAB, known=known, now_ms=NOW_MS + 367 * DAY_MS).list.entries == ()
    assert LAB.leaf.not_after_ms < NOW_MS + 91 * DAY_MS
    assert LAB.middle.not_after_ms < NOW_MS + 367 * DAY_MS, "nobody renews it by then"


def test_an_entry_that_an_earlier_version_made_is_kept_as_long_as_one_of_now() -> None:
    old = replace(PEER, until_ms=NOW_MS + 90 * DAY_MS)
    known = Revocations().taking(issuers_list(LAB, old))
    (kept,) = issuers_list(LAB, known=known, now_ms=NOW_MS + 89 * DAY_MS).list.entries
    assert kept.until_ms == PEER.until_ms


def keys_revoked(count: int, at_ms: int) -> list[Entry]:
    start = at_ms.to_bytes(16, "big")
    return [
        entry_of_key(start + index.to_bytes(16, "big"), LAB.middle, at_ms) for index in range(count)
    ]


def test_a_full_list_gives_up_the_oldest_whose_certificates_have_ended_and_no_others() -> None:
    old, middle = keys_revoked(400, NOW_MS), keys_revoked(400, NOW_MS + DAY_MS)
    recent = keys_revoked(200, NOW_MS + 60 * DAY_MS)
    known = Revocations().taking(issuers_list(LAB, *old, *middle, *recent))
    later_ms = NOW_MS + 100 * DAY_MS
    made = issuers_list(LAB, *keys_revoked(120, later_ms), known=known, now_ms=later_ms)
    left = set(made.list.entries)
    assert len(left) <= MAX_ENTRIES
    assert set(keys_revoked(120, later_ms)) <= left
    assert set(recent) <= left
    assert set(middle) <= left
    assert len(left & set(old)) == 400 - 150, "in steps of fifty"
    early_ms = NOW_MS + 80 * DAY_MS
    with pytest.raises(RevocationListFull):
        issuers_list(LAB, *keys_revoked(120, early_ms), known=known, now_ms=early_ms)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 120)), max_size=14))
def test_a_key_is_in_every_list_for_a_year_whenever_lists_are_made(
    steps: list[tuple[int, int]],
) -> None:
    known, now_ms, revoked = Revocations(), NOW_MS, dict[bytes, int]()
    for which, days in steps:
        now_ms += days * DAY_MS
        key_id = bytes([which]) * 32
        entry = entry_of_key(key_id, LAB.middle, now_ms)
        revoked[key_id] = now_ms
        known = known.taking(issuers_list(LAB, entry, known=known, now_ms=now_ms))
        listed = {each.ident for each in next(iter(known)).list.entries}
        for known_id, at_ms in revoked.items():
            assert (known_id in listed) == (now_ms - at_ms <= 366 * DAY_MS + 7 * 60_000)


def test_the_wider_of_two_entries_for_one_key_stays() -> None:
    limited = entry_of_key(LAB.leaf.key_id, LAB.middle, NOW_MS, before_ms=NOW_MS)
    for entries in ((limited, PEER), (PEER, limited)):
        (entry,) = issuers_list(LAB, *entries).list.entries
        assert entry.is_for_ever


def test_too_many_entries_are_a_clear_error() -> None:
    def some(count: int) -> list[Entry]:
        return [
            Entry(EntryKind.KEY, index.to_bytes(32, "big"), 0, NOW_MS, NOW_MS)
            for index in range(count)
        ]

    full = issuers_list(LAB, *some(MAX_ENTRIES))
    assert len(full.list.raw) <= MAX_LIST_BYTES
    assert read_list(pack_list(full), LAB.trust, NOW_MS) == full
    with pytest.raises(RevocationListFull, match="1,001 entries, and the limit is 1,000"):
        issuers_list(LAB, *some(MAX_ENTRIES + 1))
    long = [replace(entry, reason="x" * 40) for entry in some(MAX_ENTRIES)]
    with pytest.raises(RevocationListFull, match="bytes"):
        issuers_list(LAB, *long)


@pytest.mark.parametrize("reason", ["x" * 41, "a\nb", "\x1b[1m"])
def test_a_reason_that_does_not_fit_is_refused_where_it_is_given(reason: str) -> None:
    with pytest.raises(InvalidValue, match="the reason"):
        entry_of_key(LAB.leaf.key_id, LAB.middle, NOW_MS, reason=reason)


def test_a_cutoff_in_the_future_is_refused_where_it_is_given() -> None:
    with pytest.raises(InvalidValue, match="lies ahead"):
        entry_of_all(NOW_MS + HOUR_MS, LAB.middle, NOW_MS)


# -- bytes -----------------------------------------------------------------------------------------


def body_with(**changes: object) -> bytes:
    from keys_lab import fields_of

    fields = fields_of(issuers_list(LAB, PEER).list.body)
    for name, value in changes.items():
        fields[int(name[1:])] = value
    body = encode(fields)
    return encode([body, LAB.issuer.sign(DOMAIN, body)])


ENTRY = [2, LAB.leaf.key_id, 0, 1, 2, ""]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"f1": 2}, "field 1"),
        ({"f4": 0}, "field 4"),
        ({"f6": NOW_MS}, "not after its making"),
        ({"f7": [ENTRY, ENTRY]}, "in order, each once"),
        ({"f7": [ENTRY, [1, bytes(16), 0, 1, 2, ""]]}, "in order, each once"),
        ({"f7": [[4, b"", 1, 1, 2, ""]]}, "field 0"),
        ({"f7": [[1, bytes(15), 0, 1, 2, ""]]}, "field 1"),
        ({"f7": [[1, bytes(16), 5, 1, 2, ""]]}, "does not need"),
        ({"f7": [[3, b"", 0, 1, 2, ""]]}, "lacks its time"),
        ({"f7": [[2, LAB.leaf.key_id, 0, 1, 2, "\n"]]}, "not printable"),
        ({"f7": [[2, LAB.leaf.key_id, 0, 1, 2]]}, "six fields"),
        ({"f8": 1}, "unknown field"),
    ],
)
def test_what_is_no_list_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(RevocationListMalformed, match=problem):
        RevocationList.decode(body_with(**changes))


def test_a_list_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(RevocationListTooLarge):
        RevocationList.decode(bytes(MAX_LIST_BYTES + 1))


@given(st.data())
def test_no_changed_byte_is_believed(data: st.DataObject) -> None:
    packed = bytearray(pack_list(issuers_list(LAB, PEER)))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RevocationRefused):
        read_list(bytes(packed), LAB.trust, NOW_MS)


# -- in any order ----------------------------------------------------------------------------------


def all_lists() -> list[ListInForce]:
    """Three lists of each of two issuers and of the root, which takes the second one's key back."""
    chain, _ = second_issuer()
    found: list[ListInForce] = []
    for signer, signer_chain in (
        (LAB.issuer, Chain((LAB.middle, LAB.top))),
        (key(5), chain),
        (LAB.root, Chain((LAB.top,))),
    ):
        known = Revocations()
        for step in range(3):
            entries = [entry_of_key(bytes([step]) * 32, signer_chain.leaf, NOW_MS)]
            if signer is LAB.root and step == 1:
                entries.append(entry_of_key(chain.leaf.key_id, LAB.top, NOW_MS))
            listed = next_list(signer, signer_chain, known, entries, NOW_MS + step)
            known = known.taking(listed)
            found.append(listed)
    return found


ALL = all_lists()


@given(st.permutations(ALL), st.permutations(ALL))
def test_whatever_the_order_of_hearing_everybody_ends_with_the_same(
    one: list[ListInForce], other: list[ListInForce]
) -> None:
    def heard(lists: list[ListInForce]) -> Revocations:
        known = Revocations()
        for listed in lists:
            before = known
            try:
                known = known.taking(listed)
            except (RevocationOlder, RevocationSignerRevoked):
                continue
            held = before.of(listed.key_id)
            assert held is None or held.list.sequence < listed.list.sequence
        return known

    first, second = heard(one), heard(other)
    assert (first.head, first.digest, first.have()) == (second.head, second.digest, second.have())
    assert len(first) == 2
