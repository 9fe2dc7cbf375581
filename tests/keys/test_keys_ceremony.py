"""Papers: what is signed is what their words say, and enough signatures make them whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS, NOW_MS, fields_of, key, lab
from roots_lab import line_of, quorum, single

from keys import ALL_ROLES, InvalidValue, Role, Trust, network_id_of, verify_line
from keys.canonical import encode
from keys.ceremonies import IssuerRequest, Paper, Purpose
from keys.ceremonies.refusals import (
    CeremonyIncomplete,
    CeremonyMalformed,
    CeremonyOther,
    NotACustodian,
)
from keys.certificate import MAX_ROTATIONS, certificate_body

KEYS = (key(4), key(5), key(6))
SEVERAL = quorum(2, 4, 5, 6)
ALONE = line_of([single(1)])
LAB = line_of([single(1), SEVERAL])
SINGLE_LINE, LINE = ALONE.line, LAB.line


def request(roles: Role = ALL_ROLES, namespaces: tuple[str, ...] = ("*",)) -> IssuerRequest:
    return IssuerRequest.make(
        key(9), LAB.trust.network_id, "b-issuer", roles, namespaces, 100, NOW_MS
    )


def founding() -> Paper:
    assert SEVERAL.authority.quorum is not None
    return Paper.founding(SEVERAL.authority.quorum, "lan", "a", key(2).public_key, 3, NOW_MS)


def rotation() -> Paper:
    new = quorum(2, 5, 6, 7).authority
    return Paper.rotation(LINE, new, 30 * DAY_MS, NOW_MS)


def carried(paper: Paper) -> Paper:
    again = Paper.parse(str(paper))
    assert again == paper
    return again


# -- issuing ---------------------------------------------------------------------------------------


def test_an_issuer_is_signed_by_two_of_three_in_any_order() -> None:
    for first, second in ((0, 1), (2, 0), (1, 2)):
        paper = carried(Paper.issuing(request(), LINE))
        assert paper.missing == "2 signatures"
        paper = carried(paper.drafted(NOW_MS).sign(KEYS[first]))
        assert paper.missing == "1 signature of the root"
        with pytest.raises(CeremonyIncomplete, match="1 signature of the root"):
            paper.issuer_chain(NOW_MS)
        paper = carried(paper.sign(KEYS[second]))
        assert paper.missing is None
        chain = paper.issuer_chain(NOW_MS)
        assert chain.leaf.public_key == key(9).public_key
        assert chain.leaf.max_roles == ALL_ROLES
        assert chain.leaf.not_after_ms == NOW_MS + 100 * DAY_MS


def test_a_single_root_signs_alone() -> None:
    paper = Paper.issuing(request(), SINGLE_LINE).drafted(NOW_MS).sign(key(1))
    assert paper.issuer_chain(NOW_MS).rotations == 0


def test_the_same_key_again_changes_nothing_and_counts_once() -> None:
    paper = Paper.issuing(request(), LINE).drafted(NOW_MS).sign(KEYS[0])
    assert paper.sign(KEYS[0]) == paper
    assert paper.sign(KEYS[0]).missing == "1 signature of the root"


def test_more_than_enough_signatures_are_no_harm() -> None:
    paper = Paper.issuing(request(), LINE).drafted(NOW_MS)
    for each in KEYS:
        paper = carried(paper.sign(each))
    assert paper.issuer_chain(NOW_MS)


def test_a_key_that_has_no_part_in_it_signs_nothing() -> None:
    paper = Paper.issuing(request(), LINE).drafted(NOW_MS)
    for stranger in (key(1), key(9), key(99)):  # the root before, who asks, anybody
        with pytest.raises(NotACustodian):
            paper.sign(stranger)
    with pytest.raises(CeremonyOther):
        Paper.issuing(request(), LINE).sign(KEYS[0])
    with pytest.raises(CeremonyOther):
        Paper.of_roots(LINE).sign(KEYS[0])


def test_the_first_signer_gives_what_is_asked_for_or_less() -> None:
    wish = Paper.issuing(request(Role.SERVICE | Role.MANAGER, ("shop",)), LINE)
    drafted = wish.drafted(NOW_MS, roles=Role.SERVICE, namespaces=["shop.eu"], days=7)
    said = drafted.draft_certificate(0)
    assert (said.max_roles, said.namespaces) == (Role.SERVICE, ("shop.eu",))
    assert said.not_after_ms == NOW_MS + 7 * DAY_MS
    with pytest.raises(InvalidValue, match="asks only for manager, service"):
        wish.drafted(NOW_MS, roles=Role.ADMIN)
    with pytest.raises(InvalidValue, match="asks only for shop"):
        wish.drafted(NOW_MS, namespaces=["*"])
    with pytest.raises(InvalidValue, match="asks only for 100"):
        wish.drafted(NOW_MS, days=101)
    with pytest.raises(CeremonyOther):
        drafted.drafted(NOW_MS)


def test_a_request_of_before_a_rotation_is_signed_under_the_new_root() -> None:
    old = Paper.issuing(request(), SINGLE_LINE)
    paper = carried(old.drafted(NOW_MS, line=LINE)).sign(KEYS[0]).sign(KEYS[1])
    assert paper.issuer_chain(NOW_MS).rotations == 1
    other = line_of([single(60)]).line
    with pytest.raises(InvalidValue, match="another network"):
        old.drafted(NOW_MS, line=other)


def test_a_request_is_signed_by_the_key_that_it_asks_for() -> None:
    body = fields_of(decoded_body(request().raw))
    forged = encode([encode({**body, 3: key(8).public_key}), bytes(64)])
    with pytest.raises(CeremonyMalformed, match="not signed by the key"):
        IssuerRequest.decode(forged)
    for roles, spaces, days in ((Role(0), ("*",), 1), (ALL_ROLES, ("B!",), 1), (ALL_ROLES, (), 0)):
        with pytest.raises((InvalidValue, CeremonyMalformed)):
            IssuerRequest.make(key(9), LAB.trust.network_id, "x", roles, spaces, days, NOW_MS)


def decoded_body(raw: bytes) -> bytes:
    from keys.canonical import decode

    outer = decode(raw, 4096)
    assert isinstance(outer, list)
    return bytes(outer[0])


# -- what hides in a draft -------------------------------------------------------------------------


def resigned(paper: Paper, **changes: object) -> Paper:
    """The paper with another draft, and the signatures of custodians who did not look."""
    numbers = {int(name[1:]): value for name, value in changes.items()}
    body = certificate_body({**fields_of(paper.drafts[0]), **numbers})
    bare = replace(paper, drafts=(body, *paper.drafts[1:]), signatures=())
    return bare.sign(KEYS[0]).sign(KEYS[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"f2": 3, "f14": 0, "f9": 15},  # a member instead of an issuer
        {"f2": 1},  # a root
        {"f5": "other"},
        {"f6": key(8).public_key, "f7": bytes(32)},
        {"f8": "other"},
        {"f10": ["*"]},  # more than was asked for
        {"f14": int(ALL_ROLES)},
        {"f11": bytes(32)},
        {"f13": NOW_MS + 400 * DAY_MS},
        {"f12": 1},
        {"f15": 1},
        {"f16": {"x": b""}},
        {"f17": {"x": b""}},
    ],
)
def test_a_draft_that_says_other_than_its_words_is_refused(changes: dict[str, object]) -> None:
    honest = Paper.issuing(request(Role.SERVICE, ("shop",)), LINE).drafted(NOW_MS)
    with pytest.raises(CeremonyMalformed):
        Paper.parse(str(resigned(honest, **changes)))


def test_a_rotation_and_a_founding_hide_nothing_either() -> None:
    for changes in (
        {"f8": "other"},
        {"f14": 1},
        {"f17": {"x": b""}},
        {"f13": NOW_MS + 5000 * DAY_MS},
    ):
        for paper in (rotation(), founding()):
            with pytest.raises(CeremonyMalformed):
                Paper.parse(str(resigned(paper, **changes)))
    other = replace(founding(), node_name="b")
    with pytest.raises(CeremonyMalformed):
        Paper.parse(str(other))
    genesis = replace(founding(), drafts=(*founding().drafts[:2], encode({1: 1})))
    with pytest.raises(CeremonyMalformed):
        Paper.parse(str(genesis))
    mixed = replace(founding(), drafts=(*founding().drafts[:2], founding2().drafts[2]))
    with pytest.raises(CeremonyMalformed, match="does not fit"):
        Paper.parse(str(mixed))


def founding2() -> Paper:
    assert SEVERAL.authority.quorum is not None
    return Paper.founding(SEVERAL.authority.quorum, "wan", "a", key(2).public_key, 3, NOW_MS)


PAPERS = [
    Paper.of_roots(LINE),
    Paper.issuing(request(), LINE),
    Paper.issuing(request(), LINE).drafted(NOW_MS).sign(KEYS[1]),
    rotation().sign(KEYS[0]),
    founding().sign(KEYS[2]),
]


@given(st.sampled_from(PAPERS), st.integers(0, 100_000), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_bit_that_is_flipped_anywhere_in_a_paper_is_refused(
    paper: Paper, at: int, bit: int
) -> None:
    data = bytearray(paper.encode())
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(CeremonyMalformed):
        Paper.decode(bytes(data))


@given(st.text(max_size=400))
def test_other_text_is_no_paper(text: str) -> None:
    with pytest.raises(CeremonyMalformed):
        Paper.parse(text)


def test_a_paper_cut_off_anywhere_is_refused() -> None:
    whole = str(PAPERS[3])
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(CeremonyMalformed):
            Paper.parse(whole[:length])
    assert Paper.parse(whole.replace("\n", "\r\n  ")) == PAPERS[3]


# -- rotation and founding -------------------------------------------------------------------------


def test_a_rotation_is_signed_by_the_old_root_and_by_the_new_one() -> None:
    paper = carried(rotation())
    assert paper.missing == "2 signatures of the old root and 2 signatures of the new root"
    paper = carried(paper.sign(KEYS[1]))
    assert paper.missing == "1 signature of the old root and 1 signature of the new root"
    paper = carried(paper.sign(KEYS[0]))
    assert paper.missing == "1 signature of the new root"
    with pytest.raises(CeremonyIncomplete):
        paper.roots()
    paper = carried(paper.sign(key(7)))
    line = paper.roots()
    assert len(line) == 3
    verify_line(line, ALONE.trust)
    assert line[0].rotation is not None
    assert line[0].rotation.old_until_ms == NOW_MS + 30 * DAY_MS


def test_grace_is_bounded_and_there_are_four_rotations() -> None:
    for days in (-1, 367):
        with pytest.raises(InvalidValue, match="grace"):
            Paper.rotation(LINE, single(30).authority, days * DAY_MS, NOW_MS)
    full = line_of([single(seed) for seed in range(40, 41 + MAX_ROTATIONS)]).line
    with pytest.raises(InvalidValue, match="rotated 4 times"):
        Paper.rotation(full, single(30).authority, 0, NOW_MS)
    with pytest.raises(InvalidValue, match="is the old one"):
        Paper.rotation(LINE, SEVERAL.authority, 0, NOW_MS)


def test_a_root_with_which_chains_would_be_too_long_is_refused_before_it_is_signed() -> None:
    roots = [quorum(5, *range(at, at + 5)) for at in (100, 105, 110, 115)]
    line = line_of(roots).line
    with pytest.raises(InvalidValue, match="too long"):
        Paper.rotation(line, quorum(5, *range(120, 125)).authority, 0, NOW_MS)


def test_a_founding_makes_a_network() -> None:
    paper = carried(founding())
    with pytest.raises(CeremonyIncomplete):
        paper.founded()
    top, middle, genesis = carried(carried(paper.sign(KEYS[2])).sign(KEYS[0])).founded()
    assert top.network_id == network_id_of(SEVERAL.authority.public_key)
    assert middle.public_key == genesis.issuer_public_key == key(2).public_key
    genesis.verify(Trust(top.network_id))


@pytest.mark.parametrize("paper", PAPERS)
def test_each_paper_serves_its_own_purpose_only(paper: Paper) -> None:
    uses = {
        Purpose.ISSUING: lambda: paper.issuer_chain(NOW_MS),
        Purpose.FOUNDING: paper.founded,
    }
    for purpose, use in uses.items():
        with pytest.raises(CeremonyIncomplete if paper.purpose is purpose else CeremonyOther):
            use()
    if paper.purpose is Purpose.FOUNDING:
        with pytest.raises(CeremonyOther):
            paper.roots()


def test_a_paper_of_a_network_that_claims_our_id_is_refused() -> None:
    with pytest.raises(CeremonyMalformed):
        Paper.parse(str(Paper.of_roots((LINE[0], lab(11).top))))
