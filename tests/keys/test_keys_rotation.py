"""Roots that follow each other: what proves it, what is remembered, and what is refused."""

from __future__ import annotations

import pytest
from keys_lab import DAY_MS, NOW_MS, lab
from roots_lab import OLD_UNTIL_MS, Line, Root, line_of, quorum, reforge, single

from keys import CertificateRefused, Chain, InvalidValue, Principal, RootsSeen, Trust, verify
from keys.certificate import DOMAIN, MAX_ROTATIONS, Rotation, assemble_certificate, both_signed
from keys.issuing import make_issuer, make_peer
from keys.issuing.making import make_successor
from keys.refusals import (
    BadRoot,
    CertificateBadSignature,
    CertificateExpired,
    CertificateMalformed,
    ChainLength,
    RootSuperseded,
    RotationConflict,
    RotationRefused,
    ValidityTooWide,
)
from keys.rotation import MAX_LINE_BYTES, decode_line, encode_line
from keys.trust import LIFETIME_MS, MAX_CHAIN_BYTES, SKEW_MS, verify_line

ROOTS = (single(1), single(11), quorum(2, 12, 13, 14), single(15), single(16))
FIRST, SECOND, THIRD = (line_of(ROOTS[:count]) for count in (1, 2, 3))
THIEF = line_of((ROOTS[0], single(19)))  # another successor of the same root


def seen(line: Line, kept: list[bytes] | None = None) -> Trust:
    roots = RootsSeen(keep=kept.append if kept is not None else None)
    roots.learn(line.line)
    return Trust(line.trust.network_id, roots)


def see(line: Line, trust: Trust, now_ms: int = NOW_MS) -> Principal:
    return verify(Chain.decode(line.chain.encode()), trust, now_ms)


@pytest.mark.parametrize("count", range(1, 2 + MAX_ROTATIONS))
def test_who_knows_the_first_root_alone_believes_a_chain_of_every_later_one(count: int) -> None:
    made = line_of(ROOTS[:count])
    assert made.trust == FIRST.trust
    principal = see(made, FIRST.trust)
    assert principal.peer_id == made.peer.peer_id
    assert len(principal.roots) == (count if count > 1 else 0)


def test_a_chain_of_five_quorums_of_three_of_five_fits_a_message_of_the_door() -> None:
    roots = [quorum(3, *range(at, at + 5)) for at in range(30, 30 + 5 * (1 + MAX_ROTATIONS), 5)]
    made = line_of(roots)
    assert len(encode_line(made.line)) <= MAX_LINE_BYTES
    assert len(made.chain.encode()) <= MAX_CHAIN_BYTES - 500
    assert see(made, made.trust)


def test_a_network_is_rotated_four_times_and_no_more() -> None:
    made = line_of(ROOTS)
    with pytest.raises(InvalidValue, match="rotated 4 times"):
        make_successor(ROOTS[-1], made.line[0], single(17), single(17).authority, NOW_MS, NOW_MS)
    with pytest.raises(CertificateMalformed):
        reforge(ROOTS[-1], single(17), made.line[0], f16={"rotation": Rotation(5, NOW_MS).encode()})


def by(old: Root, new: Root) -> Chain:
    """The second line, its successor signed by these."""
    body = SECOND.line[0].body
    signature = both_signed(old.sign(DOMAIN, body), new.sign(DOMAIN, body))
    forged = assemble_certificate(body, signature)
    return Chain((SECOND.leaf, SECOND.middle, forged, SECOND.line[1]))


def test_a_successor_is_signed_by_the_old_root_and_by_itself() -> None:
    assert verify(by(ROOTS[0], ROOTS[1]), FIRST.trust, NOW_MS)
    for old, new in ((ROOTS[1], ROOTS[1]), (ROOTS[0], ROOTS[0]), (ROOTS[1], ROOTS[0])):
        with pytest.raises(CertificateBadSignature):
            verify(by(old, new), FIRST.trust, NOW_MS)
    alone = assemble_certificate(SECOND.line[0].body, ROOTS[0].sign(DOMAIN, SECOND.line[0].body))
    with pytest.raises(CertificateBadSignature):
        verify(Chain((SECOND.leaf, SECOND.middle, alone, SECOND.line[1])), FIRST.trust, NOW_MS)


def parts(*certificates: int) -> Chain:
    """Of the third line: 0 the peer's, 1 the issuer's, 2 to 4 the roots, newest first."""
    return Chain(tuple(THIRD.chain.certificates[at] for at in certificates))


@pytest.mark.parametrize(
    ("chain", "error"),
    [
        (lambda: parts(0, 1, 2, 3), RotationRefused),  # the first root is missing
        (lambda: parts(0, 1, 2), RotationRefused),
        (lambda: parts(0, 1, 2, 4), RotationRefused),  # one between is missing
        (lambda: parts(0, 1, 3, 2, 4), RotationRefused),  # in another order
        (lambda: parts(0, 1, 2, 3, 4, 4), ChainLength),
        (lambda: parts(0, 1, 2, 2, 3, 4), RotationRefused),
        (lambda: parts(0, 2, 1, 3, 4), RotationRefused),
        (lambda: parts(2, 3, 4), ChainLength),  # roots alone
        (lambda: Chain((FIRST.leaf, FIRST.middle, *SECOND.line)), "WrongIssuer"),
        (lambda: Chain((SECOND.leaf, SECOND.middle, *FIRST.line)), "WrongIssuer"),
        (lambda: line_of((single(11), single(1))).chain, "WrongNetwork"),
    ],
)
def test_roots_in_disorder_are_refused(chain: object, error: type[Exception] | str) -> None:
    name = error if isinstance(error, str) else error.__name__
    assert callable(chain)
    with pytest.raises(CertificateRefused) as refused:
        verify(chain(), FIRST.trust, NOW_MS)
    assert type(refused.value).__name__ == name


def test_a_number_that_skips_or_repeats_is_refused() -> None:
    for number in (2, 4):
        forged = reforge(
            ROOTS[0],
            ROOTS[1],
            SECOND.line[0],
            f16={"rotation": Rotation(number, NOW_MS).encode()},
        )
        with pytest.raises(RotationRefused):
            verify(Chain((SECOND.leaf, SECOND.middle, forged, SECOND.line[1])), FIRST.trust, NOW_MS)


def test_a_rotation_belongs_to_roots_and_follows_another_root() -> None:
    for changes in ({"f2": 2}, {"f2": 2, "f16": SECOND.line[0].critical and {"rotation": b""}}):
        with pytest.raises(CertificateMalformed):
            reforge(ROOTS[0], ROOTS[1], SECOND.line[0], **changes)
    with pytest.raises(CertificateMalformed, match="follows itself"):
        reforge(ROOTS[1], ROOTS[1], SECOND.line[0], f11=SECOND.line[0].key_id)


def test_a_root_that_ended_makes_no_successor_and_one_that_was_made_in_time_outlives_it() -> None:
    late_ms = NOW_MS + LIFETIME_MS[FIRST.line[0].kind] + DAY_MS
    with pytest.raises(InvalidValue, match="validity of the old root"):
        make_successor(ROOTS[0], FIRST.line[0], ROOTS[1], ROOTS[1].authority, late_ms, late_ms)
    forged = reforge(ROOTS[0], ROOTS[1], SECOND.line[0], f12=late_ms, f13=late_ms + 365 * DAY_MS)
    with pytest.raises(ValidityTooWide):
        verify_line((forged, SECOND.line[1]), FIRST.trust)
    longer = reforge(
        ROOTS[0],
        ROOTS[1],
        SECOND.line[0],
        f12=FIRST.line[0].not_after_ms - DAY_MS,
        f13=FIRST.line[0].not_after_ms + 365 * DAY_MS,
    )
    verify_line((longer, SECOND.line[1]), FIRST.trust)


def test_a_line_that_is_remembered_is_checked_as_a_line() -> None:
    verify_line(decode_line(encode_line(THIRD.line)), FIRST.trust)
    with pytest.raises(RotationRefused):
        verify_line((THIRD.line[0], THIRD.line[2]), FIRST.trust)
    with pytest.raises(RotationRefused):
        verify_line((*THIRD.line, THIRD.line[-1]), FIRST.trust)
    with pytest.raises(ChainLength):
        verify_line((), FIRST.trust)
    with pytest.raises(BadRoot):
        verify_line((SECOND.middle,), SECOND.trust)
    for garbage in (b"", b"\x90", b"\x91\x01", bytes(MAX_LINE_BYTES + 1)):
        with pytest.raises(CertificateRefused):
            decode_line(garbage)


# -- what is remembered ----------------------------------------------------------------------------


def test_old_chains_are_good_until_the_successor_says_and_no_longer() -> None:
    trust = seen(SECOND)
    assert see(FIRST, trust).not_after_ms == OLD_UNTIL_MS
    assert see(FIRST, trust, OLD_UNTIL_MS + SKEW_MS)
    with pytest.raises(RootSuperseded, match="root number 0, the network's is number 1"):
        see(FIRST, trust, OLD_UNTIL_MS + SKEW_MS + 1)
    assert see(SECOND, trust, OLD_UNTIL_MS + SKEW_MS + 1)
    assert see(FIRST, FIRST.trust, OLD_UNTIL_MS + SKEW_MS + 1), "who has not seen it goes on"


def test_each_successor_says_how_long_the_one_before_it_is_good() -> None:
    trust = seen(THIRD)
    for old in (FIRST, SECOND):
        assert see(old, trust).not_after_ms == OLD_UNTIL_MS
        with pytest.raises(RootSuperseded):
            see(old, trust, OLD_UNTIL_MS + SKEW_MS + 1)


def test_a_newer_line_is_learned_once_and_kept_before_it_counts() -> None:
    kept: list[bytes] = []
    trust = seen(SECOND, kept)
    assert trust.seen is not None
    assert trust.seen.learn(see(THIRD, trust).roots)
    assert not trust.seen.learn(THIRD.line)
    assert not trust.seen.learn(SECOND.line), "a rotation never goes back"
    assert not trust.seen.learn(())
    assert kept == [encode_line(SECOND.line), encode_line(THIRD.line)]
    assert trust.seen.number == 2


def test_what_could_not_be_kept_does_not_count() -> None:
    def full(data: bytes) -> None:
        raise OSError("no space left")

    roots = RootsSeen(keep=full)
    with pytest.raises(OSError, match="no space"):
        roots.learn(SECOND.line)
    assert roots.number == 0


def test_two_successors_of_one_root_are_a_conflict_and_the_first_one_seen_counts() -> None:
    trust = seen(SECOND)
    with pytest.raises(RotationConflict, match="first one seen counts") as conflict:
        see(THIEF, trust)
    assert conflict.value.number == 1
    assert see(SECOND, trust)
    longer = line_of((ROOTS[0], single(19), single(20)))
    with pytest.raises(RotationConflict):
        see(longer, trust)
    with pytest.raises(RotationConflict):
        see(SECOND, seen(THIEF))


def test_of_two_longer_lines_that_were_judged_together_one_is_learned() -> None:
    kept: list[bytes] = []
    trust = seen(SECOND, kept)
    longer = line_of((ROOTS[0], single(19), single(20)))
    assert trust.seen is not None
    with pytest.raises(RotationConflict):
        trust.seen.learn(longer.line)
    assert kept == [encode_line(SECOND.line)]
    assert trust.seen.roots == SECOND.line


def test_the_roots_own_certificate_made_anew_for_the_same_key_is_no_conflict() -> None:
    again = line_of(ROOTS[:2], until_ms=OLD_UNTIL_MS + DAY_MS)
    assert again.line[0].digest != SECOND.line[0].digest
    trust = seen(SECOND)
    assert see(again, trust)
    with pytest.raises(RootSuperseded):
        see(FIRST, trust, OLD_UNTIL_MS + SKEW_MS + 1)


def test_an_old_root_that_has_ended_does_not_end_its_successors_chains() -> None:
    """Only certificates up to the newest root have to be valid now."""
    made = lab()
    old = Root((made.root,))
    now_ms = made.top.not_after_ms - DAY_MS
    top = make_successor(old, made.top, ROOTS[1], ROOTS[1].authority, now_ms, now_ms)
    later_ms = made.top.not_after_ms + 100 * DAY_MS
    middle = make_issuer(ROOTS[1], top, made.issuer.public_key, "late", later_ms)
    leaf = make_peer(made.issuer, middle, made.peer.public_key, "alpha", made.leaf.roles, later_ms)
    chain = Chain((leaf, middle, top, made.top))
    assert verify(chain, made.trust, later_ms).not_after_ms == leaf.not_after_ms
    with pytest.raises(CertificateExpired):
        verify(chain, made.trust, leaf.not_after_ms + SKEW_MS + 1)


def test_no_bit_of_a_chain_with_successors_can_be_changed() -> None:
    whole = THIRD.chain.encode()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(CertificateRefused):
            verify(Chain.decode(bytes(changed)), FIRST.trust, NOW_MS)
