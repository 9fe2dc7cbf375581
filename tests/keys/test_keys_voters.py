"""Whom a statement about the voters convinces, and whom it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import DAY_MS, NOW_MS, key, lab

from keys import (
    Chain,
    HomeDamaged,
    Identity,
    InvalidValue,
    NetworkId,
    PeerId,
    Role,
)
from keys.issuing import make_peer
from keys.voters import (
    TRUSTED_MS,
    Confirmed,
    ConfirmedFile,
    VotersBook,
    VoterSet,
    VotersRefused,
    VotersStatement,
    walk_voters,
)
from keys.voters.book import parse_voters_book, voters_book_bytes

LAB = lab()
NETWORK = LAB.trust.network_id
LOG, OTHER_LOG = "a" * 32, "b" * 32
NODES = {name: key(20 + number) for number, name in enumerate("abcdefghij")}


def ids(names: str) -> tuple[PeerId, ...]:
    return tuple(sorted(NODES[name].peer_id for name in names))


def who(voters: str, index: int = 0, *, old: str = "", generation: int = 0) -> VoterSet:
    log_id = LOG if generation == 0 else OTHER_LOG
    return VoterSet(generation, log_id, index, ids(voters), ids(old))


def said(what: VoterSet, by: str, network: NetworkId = NETWORK) -> VotersStatement:
    statement = VotersStatement.make(network, what)
    for name in by:
        statement = statement.signed(NODES[name])
    return VotersStatement.decode(statement.encode())


def chain_of(identity: Identity, roles: Role) -> bytes:
    leaf = make_peer(LAB.issuer, LAB.middle, identity.public_key, "x", roles, NOW_MS)
    return Chain((leaf, LAB.middle, LAB.top)).encode()


FIRST = who("abc")


@pytest.mark.parametrize(
    ("what", "by", "believed"),
    [
        (who("abd", 5), "ab", True),
        (who("abd", 5), "abc", True),
        (who("abd", 5), "ac", True),  # also by one that votes no more
        (who("abd", 5), "ad", False),
        (who("abd", 5), "a", False),
        (who("abd", 5), "", False),
        (who("def", 5), "defghij", False),
        (who("def", 5), "defab", True),
        (who("abd", 0), "abc", False),  # no later than what is known
        (who("abd", 5, old="abc"), "bc", True),
    ],
)
def test_a_majority_of_those_who_are_known_convinces(
    what: VoterSet, by: str, believed: bool
) -> None:
    assert said(what, by).follows(FIRST, LAB.trust, NOW_MS) is believed


@pytest.mark.parametrize(
    ("by", "believed"),
    [("ab", False), ("abd", False), ("abde", True), ("de", False)],
)
def test_while_voters_change_both_majorities_are_needed(by: str, believed: bool) -> None:
    joint = who("def", 5, old="abc")
    assert said(who("def", 6), by).follows(joint, LAB.trust, NOW_MS) is believed


def test_of_another_network_or_another_log_nothing_is_believed() -> None:
    foreign = said(who("abd", 5), "abc", NetworkId(NODES["j"].peer_id))
    assert not foreign.follows(FIRST, LAB.trust, NOW_MS)
    beside = said(replace(who("abd", 5), log_id=OTHER_LOG), "abc")
    assert not beside.follows(FIRST, LAB.trust, NOW_MS)


def test_a_signature_counts_for_its_owner_and_these_words_alone() -> None:
    true, lie = said(who("abd", 5), "abc"), said(who("ghi", 5), "g")
    moved = replace(lie, signatures=true.signatures)
    assert not moved.follows(FIRST, LAB.trust, NOW_MS)
    (first, _), second = true.signatures[0], true.signatures[1]
    swapped = replace(true, signatures=((first, second[1]), second))
    assert len(swapped.signers(FIRST.deciders)) == 1


# -- after a disaster ------------------------------------------------------------------------------


def test_a_new_log_takes_one_voter_that_is_known() -> None:
    assert said(who("a", 9, generation=1), "a").follows(FIRST, LAB.trust, NOW_MS)
    assert said(who("ad", 12, generation=3), "da").follows(FIRST, LAB.trust, NOW_MS)
    assert not said(who("d", 9, generation=1), "d").follows(FIRST, LAB.trust, NOW_MS)


@pytest.mark.parametrize(
    ("roles", "signer", "at_ms", "believed"),
    [
        (Role.SERVICE | Role.ADMIN, "d", NOW_MS, True),
        (Role.SERVICE, "d", NOW_MS, False),
        (Role.SERVICE | Role.MANAGER, "d", NOW_MS, False),
        (Role.SERVICE | Role.ADMIN, "e", NOW_MS, False),  # its papers, and not its signature
        (Role.SERVICE | Role.ADMIN, "d", NOW_MS + 91 * DAY_MS, False),
    ],
)
def test_or_one_whose_certificate_lets_it_change_the_voters(
    roles: Role, signer: str, at_ms: int, believed: bool
) -> None:
    new = VotersStatement.make(NETWORK, who("e", 9, generation=1))
    new = new.signed(NODES[signer], chain_of(NODES["d"], roles))
    assert VotersStatement.decode(new.encode()).follows(FIRST, LAB.trust, at_ms) is believed
    same = VotersStatement.make(NETWORK, who("e", 9)).signed(
        NODES[signer], chain_of(NODES["d"], roles)
    )
    assert not same.follows(FIRST, LAB.trust, at_ms), "it takes a majority while there is one"


# -- from the first to the last --------------------------------------------------------------------


def test_who_was_away_is_led_there_in_as_few_steps_as_do() -> None:
    one, two = said(who("abd", 5), "abd"), said(who("ade", 7), "abde")
    three, four = said(who("def", 9), "adef"), said(who("fgh", 11), "dfgh")
    everything = [one, two, three, four]
    steps = walk_voters(FIRST, everything, LAB.trust, NOW_MS)
    assert [each.who.index for each in steps] == [7, 9, 11]
    assert walk_voters(FIRST, [one, four], LAB.trust, NOW_MS) == (one,)
    assert walk_voters(four.who, everything, LAB.trust, NOW_MS) == ()


@given(st.data())
def test_nobody_is_led_to_voters_without_a_majority_of_the_honest(data: st.DataObject) -> None:
    """Liars sign anything; of any set that was decided fewer than half lie."""
    liars = data.draw(st.sets(st.sampled_from("abcdefghij"), max_size=4))
    honest = [name for name in NODES if name not in liars]

    def drawn_set() -> str:
        most = (3 - 1) // 2
        bad = data.draw(st.lists(st.sampled_from(sorted(liars)), max_size=most)) if liars else []
        good = data.draw(
            st.lists(
                st.sampled_from(honest),
                min_size=3 - len(bad),
                max_size=3 - len(bad),
                unique=True,
            )
        )
        return "".join(sorted({*bad, *good}))

    first = who(drawn_set())
    decided = [who(drawn_set(), 2 * n + 2) for n in range(3)]
    statements = [said(each, "".join(NODES)) for each in decided]
    for n in range(3):
        lied = data.draw(st.lists(st.sampled_from("abcdefghij"), min_size=1, unique=True))
        what = who("".join(sorted(lied)), 2 * n + 3)
        statements.append(said(what, "".join(sorted(liars))))
    steps = walk_voters(first, statements, LAB.trust, NOW_MS)
    assert all(step.who in decided for step in steps)
    assert steps[-1].who == decided[-1]


# -- gathering signatures --------------------------------------------------------------------------


def test_signatures_are_joined_and_junk_is_left_behind() -> None:
    ours, theirs = said(who("abd", 5), "a"), said(who("abd", 5), "bj")
    joined = ours.joined(theirs, set(ids("abcd")))
    assert joined.claimed() == set(ids("ab"))
    assert joined.joined(theirs, set(ids("abcd"))) is joined
    bad = replace(theirs, signatures=tuple((k, bytes(64)) for k, _ in theirs.signatures))
    assert ours.joined(bad, set(ids("abcdj"))) is ours
    mixed = replace(ours, signatures=tuple(sorted((*ours.signatures, *bad.signatures))))
    assert mixed.only(set(ids("abd"))).claimed() == set(ids("a"))


# -- bytes -----------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(VotersRefused):
        VotersStatement.decode(data)
    with pytest.raises(VotersRefused):
        parse_voters_book(data)


def test_every_bit_matters() -> None:
    raw = said(who("abd", 5), "ab").encode()
    for at in range(0, len(raw), 7):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        try:
            found = VotersStatement.decode(changed)
        except VotersRefused:
            continue
        assert not found.follows(FIRST, LAB.trust, NOW_MS)


def test_what_cannot_be_stated_is_said() -> None:
    for bad in (
        replace(FIRST, voters=()),
        replace(FIRST, log_id="short"),
        replace(FIRST, index=2**60),
        replace(FIRST, voters=tuple(reversed(FIRST.voters))),
        replace(FIRST, learners=FIRST.voters[:1]),
    ):
        with pytest.raises(VotersRefused):
            VotersStatement.make(NETWORK, bad)
    with pytest.raises(InvalidValue):
        VotersStatement.make(NETWORK, replace(FIRST, voters=(PeerId("nobody"),)))


def test_the_file_survives_and_a_bit_that_turned_is_said(tmp_path: Path) -> None:
    book = VotersBook(tmp_path, NETWORK)
    assert book.load() == ()
    kept = (said(who("abd", 5), "ab"), said(who("ade", 7), "ab"))
    book.save(tuple(reversed(kept)))
    assert book.load() == kept
    assert voters_book_bytes(kept) == (tmp_path / "voters").read_bytes()
    data = bytearray((tmp_path / "voters").read_bytes())
    data[100] ^= 1
    (tmp_path / "voters").write_bytes(data)
    with pytest.raises(HomeDamaged, match="checksum"):
        book.load()
    book.save(kept)
    with pytest.raises(HomeDamaged, match="another network"):
        VotersBook(tmp_path, NetworkId(NODES["j"].peer_id)).load()


# -- voters of long ago ------------------------------------------------------------------------


def members(names: str) -> Callable[[PeerId], bool]:
    return lambda peer_id: peer_id in ids(names)


@pytest.mark.parametrize(
    ("what", "by", "now", "believed"),
    [
        (who("def", 5), "abc", "", False),
        (who("def", 5), "abc", "def", False),  # who is a member now has to be one of those known
        (who("def", 5), "abcdef", "defghij", False),
        (who("def", 5), "ab", "c", False),  # and to have signed
        (who("def", 5), "ab", "a", True),
        (who("def", 5), "a", "abc", False),  # it takes a majority all the same
        (who("def", 5, generation=1), "a", "", False),
        (who("def", 5, generation=1), "ab", "c", False),
        (who("def", 5, generation=1), "ab", "b", True),
        (who("def", 5, generation=1), "def", "def", False),
    ],
)
def test_old_keys_alone_convince_nobody_who_has_known_them_for_long(
    what: VoterSet, by: str, now: str, believed: bool
) -> None:
    shown = said(what, by)
    assert shown.follows(FIRST, LAB.trust, NOW_MS, members(now)) is believed
    assert bool(walk_voters(FIRST, [shown], LAB.trust, NOW_MS, members(now))) is believed


def test_each_step_takes_a_member_of_now_or_the_last_an_administrator() -> None:
    one, two = said(who("cde", 5), "ab"), said(who("efg", 9), "cd")
    steps = [one, two]
    assert walk_voters(FIRST, steps, LAB.trust, NOW_MS, members("")) == ()
    assert walk_voters(FIRST, steps, LAB.trust, NOW_MS, members("b")) == (one,)
    assert walk_voters(FIRST, steps, LAB.trust, NOW_MS, members("bd")) == (one, two)
    admin, service = chain_of(NODES["j"], Role.ADMIN), chain_of(NODES["j"], Role.SERVICE)
    confirmed = two.signed(NODES["j"], admin)
    for chain, by, at_ms, believed in (
        (admin, "j", NOW_MS, True),
        (service, "j", NOW_MS, False),
        (admin, "i", NOW_MS, False),  # whose chain it is has not signed
        (admin, "j", NOW_MS + 91 * DAY_MS, False),  # and its certificate has ended
    ):
        last = two.signed(NODES[by], chain)
        found = walk_voters(FIRST, [one, last], LAB.trust, at_ms, members(""))
        assert found == ((one, last) if believed else ())
    of_the_first = one.signed(NODES["j"], admin)
    assert walk_voters(FIRST, [of_the_first, two], LAB.trust, NOW_MS, members("")) == ()
    assert walk_voters(FIRST, [confirmed], LAB.trust, NOW_MS, members("")) == (), "nobody known"


def test_it_is_long_ago_when_every_certificate_of_then_has_ended() -> None:
    confirmed = Confirmed.now(FIRST, NOW_MS)
    assert TRUSTED_MS >= 90 * DAY_MS
    assert not confirmed.is_stale(NOW_MS + TRUSTED_MS)
    assert confirmed.is_stale(NOW_MS + TRUSTED_MS + 1)
    assert not confirmed.is_stale(NOW_MS - 120_000), "two clocks may differ so far"
    assert confirmed.is_stale(NOW_MS - 120_001), "a clock that was ahead wrote it"
    assert Confirmed.decode(confirmed.encode()) == confirmed
    assert confirmed.is_of(FIRST)
    assert not confirmed.is_of(who("abc", 5))
    assert not confirmed.is_of(who("abc", generation=1))


def test_a_confirmation_that_is_lost_or_damaged_is_none(tmp_path: Path) -> None:
    file, path = ConfirmedFile(tmp_path), tmp_path / "voters.confirmed"
    assert file.load() is None
    file.save(Confirmed.now(FIRST, NOW_MS))
    assert file.load() == Confirmed.now(FIRST, NOW_MS)
    assert path.stat().st_mode & 0o777 == 0o600
    good = path.read_bytes()
    for bad in (good[:-1], b"", good + b"\0", bytes(500)):
        path.write_bytes(bad)
        assert file.load() is None
