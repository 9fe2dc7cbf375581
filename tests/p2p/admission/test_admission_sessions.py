"""The table of sessions: one a peer, one peer a key, never backwards."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from admission_lab import NOW_MS, curve, network, seeded

from keys import Chain, PeerId, Principal, Role, verify
from keys.canonical import encode
from keys.issuing import make_peer
from keys.names import within
from p2p.admission import (
    SEQUENCES_PER_START,
    Admitted,
    RefusalCode,
    Session,
    SessionTable,
    ShownChain,
)

NET = network()
DAY_MS = 86_400_000


def session(
    seed: int,
    *,
    sequence: int = 1,
    curve_seed: int | None = None,
    roles: Role = Role.SERVICE,
    spaces: tuple[str, ...] = ("*",),
    minute: int = 0,
) -> Session:
    """Of a member whose certificate was given at this minute."""
    given_ms = NOW_MS - 3_600_000 + minute * 60_000
    identity, top = seeded(seed), (NET.middle, NET.top)
    leaf = make_peer(
        NET.issuer, NET.middle, identity.public_key, "node", roles, given_ms, namespaces=spaces
    )
    member = NET.member(seed, sequence=sequence, curve_seed=curve_seed, chain=Chain((leaf, *top)))
    record = member.record()
    return Session(verify(member.chain, NET.trust, NOW_MS), record, record.hosts)


def test_a_newer_record_with_a_new_key_replaces_and_says_what_it_replaced() -> None:
    later = SEQUENCES_PER_START + 2
    table, old, new = SessionTable(), session(11), session(11, sequence=later, curve_seed=12)
    assert table.admit(old).outcome is Admitted.NEW
    admission = table.admit(new)
    assert (admission.outcome, admission.before) == (Admitted.REPLACED, old)
    assert table.of_key(curve(11)) is None
    assert table.of_key(curve(12)) is new


def test_a_new_key_under_the_same_start_is_a_rotation_and_both_keys_are_the_peers() -> None:
    table, old, new = SessionTable(), session(11), session(11, sequence=2, curve_seed=12)
    table.admit(old)
    admission = table.admit(new)
    assert (admission.outcome, admission.before) == (Admitted.ROTATED, old)
    assert table.of_key(curve(11)) is table.of_key(curve(12)) is new
    assert table.objection(session(13, curve_seed=11).record) is RefusalCode.KEY_TAKEN
    table.admit(session(11, sequence=3, curve_seed=12))
    assert table.objection(session(13, curve_seed=11).record) is RefusalCode.KEY_TAKEN
    table.check_invariants()


def test_of_the_keys_that_a_peer_gave_up_the_last_one_stays_its_own() -> None:
    table = SessionTable()
    for number, seed in enumerate((11, 12, 13), 1):
        table.admit(session(11, sequence=number, curve_seed=seed))
        table.check_invariants()
    assert table.of_key(curve(11)) is None
    assert table.of_key(curve(12)) is table.of_key(curve(13)) is not None


def test_the_next_end_is_that_of_the_first_whose_papers_end() -> None:
    table, one = SessionTable(), session(11)
    assert table.next_end_ms() is None
    table.admit(one)
    end_ms = table.next_end_ms()
    assert end_ms is not None
    assert table.expired(end_ms - 1) == []
    assert table.expired(end_ms) == [one]


def test_a_newer_record_with_the_same_key_refreshes() -> None:
    table = SessionTable()
    table.admit(session(11))
    assert table.admit(session(11, sequence=2)).outcome is Admitted.REFRESHED


def test_the_same_record_again_is_the_same() -> None:
    table = SessionTable()
    same = session(11)
    table.admit(same)
    assert table.admit(replace(same, hosts=("192.0.2.77",))).outcome is Admitted.SAME
    kept = table.get(same.peer_id)
    assert kept is not None
    assert kept.hosts == ("192.0.2.77",), "the address that worked last"


def test_a_record_older_than_one_of_an_ended_session_is_still_too_old() -> None:
    table = SessionTable()
    table.admit(session(11, sequence=5))
    table.remove(seeded(11).peer_id)
    assert table.objection(session(11, sequence=4).record) is RefusalCode.STALE_RECORD
    assert table.objection(session(11, sequence=6).record) is None


def test_the_mark_is_forgotten_when_the_record_that_set_it_is_over() -> None:
    table = SessionTable()
    table.admit(session(11, sequence=5))
    table.remove(seeded(11).peer_id)
    assert table.expired(NOW_MS + 2 * DAY_MS) == []
    assert table.objection(session(11, sequence=4).record) is None


def test_a_key_stays_its_peers_when_the_session_ended() -> None:
    """Else a member could claim the key of one that is cut off, and be credited with its words."""
    table = SessionTable()
    table.admit(session(11))
    assert table.objection(session(12, curve_seed=11).record) is RefusalCode.KEY_TAKEN
    table.remove(seeded(11).peer_id)
    assert table.of_key(curve(11)) is None, "unknown, but"
    assert table.objection(session(12, curve_seed=11).record) is RefusalCode.KEY_TAKEN
    table.expired(NOW_MS + 2 * DAY_MS)
    assert table.objection(session(12, curve_seed=11).record) is None
    table.check_invariants()


def test_a_key_that_its_peer_gave_up_is_free() -> None:
    table = SessionTable()
    table.admit(session(11))
    table.admit(session(11, sequence=SEQUENCES_PER_START, curve_seed=13))
    assert table.objection(session(12, curve_seed=11).record) is None


def test_sessions_end_with_their_papers_and_the_skew() -> None:
    table, one = SessionTable(), session(11)
    table.admit(one)
    assert table.expired(one.not_after_ms + 120_000) == []
    assert table.expired(one.not_after_ms + 120_001) == [one]


def test_hints_leave_out_whom_they_are_for() -> None:
    table = SessionTable()
    for seed in (11, 12, 13):
        table.admit(session(seed))
    named = {hint.peer_id for hint in table.hints(but_for=seeded(12).peer_id)}
    assert named == {seeded(11).peer_id, seeded(13).peer_id}
    assert len(table.hints(limit=2)) == 2


def test_newcomers_are_told_of_different_members_where_not_all_can_be_told() -> None:
    table = SessionTable()
    members = [session(seed) for seed in range(11, 23)]
    for each in members:
        table.admit(each)
    known: list[PeerId | None] = [seeded(seed).peer_id for seed in range(30, 60)]
    for askers in (known, [None] * 30):
        told = [[hint.peer_id for hint in table.hints(but_for=each, limit=3)] for each in askers]
        assert all(len(set(few)) == 3 for few in told)
        assert {each for few in told for each in few} == {one.peer_id for one in members}


def rights_of(table: SessionTable, seed: int = 11) -> tuple[Role, tuple[str, ...]]:
    found = table.get(seeded(seed).peer_id)
    assert found is not None
    return found.principal.roles, found.principal.namespaces


def test_rights_are_those_of_the_newest_certificate_and_an_older_one_brings_none_back() -> None:
    heard: list[Session] = []
    table, both = SessionTable(), Role.SERVICE | Role.MANAGER
    table.on_rights = heard.append
    table.admit(session(11, roles=both, minute=1))
    assert heard == []
    table.admit(session(11, sequence=2, spaces=("shop",), minute=2))
    assert (rights_of(table), len(heard)) == ((Role.SERVICE, ("shop",)), 1)
    table.admit(session(11, sequence=3, roles=both, minute=1))
    assert (rights_of(table), len(heard)) == ((Role.SERVICE, ("shop",)), 1)
    table.remove(seeded(11).peer_id)
    table.admit(session(11, sequence=4, roles=both, spaces=("bank", "shop.eu"), minute=1))
    assert rights_of(table) == (Role.SERVICE, ("shop.eu",)), "what both give, and no more"
    table.admit(session(11, sequence=5, roles=both, minute=3))
    assert rights_of(table) == (both, ("*",)), "a newer one gives what it says"
    assert len(heard) == 2
    table.check_invariants()


def test_what_the_guard_remembers_of_a_certificate_is_not_what_is_left_of_it() -> None:
    table = SessionTable()
    wide = session(11, sequence=2, minute=1)
    table.admit(session(11, spaces=("shop",), minute=2))
    table.admit(wide)
    left = table.get(wide.peer_id)
    assert left is not None
    assert left.principal.certificate_digest != wide.principal.certificate_digest
    assert left.record.certificate_hash == wide.principal.certificate_digest


def test_what_a_certificate_took_is_forgotten_with_the_mark_of_its_record() -> None:
    table = SessionTable()
    table.admit(session(11, spaces=("shop",), minute=2))
    table.remove(seeded(11).peer_id)
    table.expired(NOW_MS + 2 * DAY_MS)
    table.check_invariants()
    table.admit(session(11, minute=1))
    assert rights_of(table) == (Role.SERVICE, ("*",))


def test_the_promises_hold_under_any_order_of_admissions() -> None:
    for seed in range(40):
        print(f"seed {seed}")
        rng = random.Random(seed)
        table = SessionTable()
        seen: dict[str, int] = {}
        shown: dict[str, list[Principal]] = {}
        for _ in range(60):
            one = session(
                rng.randrange(11, 15),
                sequence=rng.randrange(1, 6),
                curve_seed=rng.randrange(11, 17),
                roles=Role(rng.randrange(16)),
                spaces=rng.choice((("*",), ("a",), ("a.b", "c"), ("b", "c.d"), ())),
                minute=rng.randrange(5),
            )
            if rng.random() < 0.2:
                table.remove(one.peer_id)
            elif table.objection(one.record) is None:
                assert one.sequence >= seen.get(one.peer_id, 0), "never backwards"
                seen[one.peer_id] = one.sequence
                table.admit(one)
                now = table.of_key(one.curve_public)
                assert now is not None
                assert replace(now, principal=one.principal) == one
                shown.setdefault(one.peer_id, []).append(one.principal)
                most = max(each.not_before_ms for each in shown[one.peer_id])
                newest = [p for p in shown[one.peer_id] if p.not_before_ms == most][-1]
                check_rights(now.principal, one.principal, newest)
            table.check_invariants()


def check_rights(has: Principal, shown: Principal, newest: Principal) -> None:
    """Exactly what both of these give, name by name."""
    assert has.roles == shown.roles & newest.roles
    for name in ("", "a", "a.b", "a.b.c", "b", "b.x", "c", "c.d", "d"):
        both = within(name, shown.namespaces) and within(name, newest.namespaces)
        assert within(name, has.namespaces) == both


@pytest.mark.parametrize("above", range(4))
def test_a_chain_in_two_parts_is_the_chain_that_was_shown(above: int) -> None:
    chain = encode([bytes([number]) * (40 + 120 * number) for number in range(1 + above)])
    shown = ShownChain.of(chain)
    assert shown.encode() == chain
    assert ShownChain.of(bytes(bytearray(chain))).above is shown.above
