"""The handshake of two members, without sockets: what must hold, and each refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from admission_lab import (
    DIALER_HOST,
    DOOR_HOST,
    NOW_MS,
    Heard,
    curve,
    dialer,
    door,
    framed,
    meet,
    network,
    nonce,
    said,
    seeded,
    written,
)

from p2p.admission import (
    Credentials,
    Hint,
    Learn,
    RefusalCode,
    SessionTable,
)
from p2p.admission.checks import DIALER_DOMAIN, DOOR_DOMAIN
from p2p.admission.handshake import State
from p2p.admission.messages import (
    DoorHello,
    Hello,
    Introduction,
    JoinGrant,
    JoinRequest,
    Refusing,
    Welcome,
    fitting,
    pack,
)

NET = network()


def refused_by_door(caller: Credentials, sessions: SessionTable | None = None) -> Heard:
    """The caller is refused with one reason on both sides and no session on either."""
    called, heard = meet(dialer(caller), door(NET.member(10), sessions))
    assert heard.sessions == called.sessions == []
    assert heard.refusal is not None
    assert called.refusal is not None
    assert not heard.refusal.theirs
    assert called.refusal.theirs
    assert called.code is heard.code
    return heard


def test_two_members_admit_each_other() -> None:
    alpha, beta = NET.member(10), NET.member(11)
    called, heard = meet(dialer(beta), door(alpha))
    assert called.refusal is heard.refusal is None
    assert [each.peer_id for each in called.sessions] == [alpha.peer_id]
    assert [each.peer_id for each in heard.sessions] == [beta.peer_id]
    assert called.sessions[0].curve_public == curve(10)
    ports = {"control": 4748, "data": 4749, "topics": 4750}
    assert ports.items() <= heard.sessions[0].contact().ports.items()
    assert called.sessions[0].shown.encode() == alpha.chain.encode()
    assert called.sessions[0].shown.above is heard.sessions[0].shown.above


@pytest.mark.parametrize("chunk_bytes", [1, 7, 8192])
def test_it_does_not_matter_how_the_stream_is_split(chunk_bytes: int) -> None:
    called, heard = meet(dialer(NET.member(11)), door(NET.member(10)), chunk_bytes=chunk_bytes)
    assert (len(called.sessions), len(heard.sessions)) == (1, 1)


def test_the_door_admits_before_it_welcomes_and_the_dialer_after() -> None:
    called, heard = meet(dialer(NET.member(11)), door(NET.member(10)))
    assert heard.kinds == ["Send", "Admit", "Send", "Close"]
    assert called.kinds == ["Send", "Verified", "Send", "Admit", "Learn", "Close"]


def test_nothing_of_the_dialers_papers_is_said_to_a_door_that_has_not_shown_its_own() -> None:
    caller = dialer(NET.member(11))
    [hello] = said(caller.start())
    assert hello == Hello(NET.trust.network_id, nonce(1))


def test_the_address_that_was_dialled_is_the_best_one() -> None:
    called, heard = meet(
        dialer(NET.member(11, host="198.51.100.9")), door(NET.member(10, host="198.51.100.8"))
    )
    assert called.sessions[0].hosts == (DOOR_HOST, "198.51.100.8")
    # The door has not reached the observed address: it may be the near side of a translation.
    assert heard.sessions[0].hosts == ("198.51.100.9", DIALER_HOST)


def test_an_address_that_worked_is_kept_when_the_same_peer_knocks() -> None:
    sessions, alpha, beta = SessionTable(), NET.member(10, host="198.51.100.8"), NET.member(11)
    called, _ = meet(dialer(beta, sessions), door(alpha))
    sessions.admit(called.sessions[0])
    _, heard = meet(dialer(alpha), door(beta, sessions))
    assert heard.sessions[0].hosts == (DOOR_HOST, "198.51.100.8")


def test_a_welcome_says_who_else_is_there() -> None:
    hints = (Hint(seeded(50).peer_id, ("192.0.2.50",), 4747),)
    called, _ = meet(dialer(NET.member(11)), door(NET.member(10), hints=hints))
    assert [each.hints for each in called.effects if isinstance(each, Learn)] == [hints]


def test_more_hints_than_fit_are_cut_to_one_frame() -> None:
    hints = [Hint(seeded(50).peer_id, ("h" * 64,) * 4, 4747)] * 40
    assert 0 < len(fitting(hints)) < 32
    called, _ = meet(dialer(NET.member(11)), door(NET.member(10), hints=hints))
    assert called.refusal is None


def test_another_network_is_refused_before_any_paper_is_shown_or_read() -> None:
    stranger = network(100).member(11)
    called, heard = meet(dialer(stranger), door(NET.member(10)))
    assert heard.code is called.code is RefusalCode.WRONG_NETWORK
    assert [type(each) for each in said(heard.effects)] == [Refusing]


def test_a_dialer_refuses_a_door_of_another_network_that_claims_to_be_of_its_own() -> None:
    foreign = network(100)
    liar = replace(foreign.member(10), trust=NET.trust)
    called, heard = meet(dialer(NET.member(11)), door(liar))
    assert called.code is heard.code is RefusalCode.WRONG_NETWORK
    assert called.sessions == []


def test_a_dialer_looks_at_no_paper_of_another_network() -> None:
    caller = dialer(NET.member(11))
    caller.start()
    foreign = DoorHello(network(100).trust.network_id, nonce(2), b"no record", b"no chain")
    assert Heard(caller.receive(framed(foreign), NOW_MS)).code is RefusalCode.WRONG_NETWORK


def test_a_rotation_in_the_middle_of_a_conversation_does_no_harm() -> None:
    """The papers that were shown count, and the key that they name."""
    before, after = NET.member(10), NET.member(10, sequence=2, curve_seed=77)
    now = [before]
    alpha = replace(
        before,
        record=lambda: now[0].record(),
        transport_keys=lambda: (now[0].transport_keys()[0], before.transport_keys()[0]),
    )
    caller, callee = dialer(NET.member(11)), door(alpha)
    to_caller = written(callee.receive(written(caller.start()), NOW_MS))
    now[0] = after
    effects = caller.receive(to_caller, NOW_MS)
    heard = Heard(callee.receive(written(effects), NOW_MS))
    assert heard.code is None
    assert heard.sessions[0].knows_key == before.record().curve_public


def test_both_ends_know_which_key_of_theirs_the_other_was_shown() -> None:
    called, heard = meet(dialer(NET.member(11)), door(NET.member(10)))
    assert called.sessions[0].knows_key == curve(11)
    assert heard.sessions[0].knows_key == curve(10)


def test_our_former_key_is_still_ourselves() -> None:
    alpha = NET.member(10)
    new = NET.member(10, sequence=2, curve_seed=77)
    both = replace(new, transport_keys=lambda: (new.transport_keys()[0], alpha.transport_keys()[0]))
    called, _ = meet(dialer(both), door(alpha))
    assert called.code is RefusalCode.OURSELVES


def test_an_introduction_cannot_be_replayed_at_another_knock() -> None:
    caller = dialer(NET.member(11))
    first = door(NET.member(10))
    hello = written(caller.start())
    introduction = written(caller.receive(written(first.receive(hello, NOW_MS)), NOW_MS))
    assert Heard(first.receive(introduction, NOW_MS)).code is None

    again = door(NET.member(10), fresh=nonce(3))
    again.receive(hello, NOW_MS)
    heard = Heard(again.receive(introduction, NOW_MS))
    assert heard.code is RefusalCode.BAD_PROOF


def test_hints_changed_on_the_way_are_noticed() -> None:
    caller, callee = dialer(NET.member(11)), door(NET.member(10))
    effects = caller.receive(written(callee.receive(written(caller.start()), NOW_MS)), NOW_MS)
    [welcome] = said(callee.receive(written(effects), NOW_MS))
    assert isinstance(welcome, Welcome)
    changed = replace(welcome, hints=(Hint(seeded(66).peer_id, ("203.0.113.6",), 4747),))
    assert Heard(caller.receive(framed(changed), NOW_MS)).code is RefusalCode.BAD_PROOF


def test_what_a_dialer_signs_never_serves_as_a_welcome() -> None:
    assert DIALER_DOMAIN != DOOR_DOMAIN
    caller, alpha = dialer(NET.member(11)), NET.member(10)
    callee = door(alpha)
    to_caller = written(callee.receive(written(caller.start()), NOW_MS))
    caller.receive(to_caller, NOW_MS)
    proof = alpha.identity.sign(DIALER_DOMAIN, b"whatever")
    heard = Heard(caller.receive(framed(Welcome((), proof, b"t" * 32)), NOW_MS))
    assert heard.code is RefusalCode.BAD_PROOF


def test_our_own_door_is_recognised() -> None:
    alpha = NET.member(10)
    called, heard = meet(dialer(alpha), door(alpha))
    assert called.code is heard.code is RefusalCode.OURSELVES


def test_a_copied_data_directory_is_recognised() -> None:
    original, copy = NET.member(10), NET.member(10, curve_seed=77, sequence=2)
    called, _ = meet(dialer(original), door(copy))
    assert called.code is RefusalCode.TWIN


def test_a_dialer_that_asked_for_one_peer_refuses_another() -> None:
    caller = dialer(NET.member(11), expected=seeded(12).peer_id)
    called, heard = meet(caller, door(NET.member(10)))
    assert called.code is heard.code is RefusalCode.OTHER_PEER


def test_an_older_record_is_refused() -> None:
    sessions = SessionTable()
    _, heard = meet(dialer(NET.member(11, sequence=5)), door(NET.member(10), sessions))
    sessions.admit(heard.sessions[0])
    assert refused_by_door(NET.member(11, sequence=4), sessions).code is RefusalCode.STALE_RECORD


def test_another_record_with_the_same_number_is_refused() -> None:
    sessions = SessionTable()
    _, heard = meet(dialer(NET.member(11)), door(NET.member(10), sessions))
    sessions.admit(heard.sessions[0])
    twin = NET.member(11, curve_seed=78)
    assert refused_by_door(twin, sessions).code is RefusalCode.CONFLICTING_RECORD


def test_a_transport_key_of_another_peer_is_refused() -> None:
    sessions = SessionTable()
    _, heard = meet(dialer(NET.member(11)), door(NET.member(10), sessions))
    sessions.admit(heard.sessions[0])
    thief = NET.member(12, curve_seed=11)
    assert refused_by_door(thief, sessions).code is RefusalCode.KEY_TAKEN


def test_a_dialer_that_learns_newer_papers_meanwhile_does_not_go_back() -> None:
    sessions = SessionTable()
    caller, callee = dialer(NET.member(11), sessions), door(NET.member(10, sequence=4))
    effects = caller.receive(written(callee.receive(written(caller.start()), NOW_MS)), NOW_MS)
    _, elsewhere = meet(dialer(NET.member(10, sequence=5)), door(NET.member(11), sessions))
    sessions.admit(elsewhere.sessions[0])
    heard = Heard(caller.receive(written(callee.receive(written(effects), NOW_MS)), NOW_MS))
    assert heard.code is RefusalCode.STALE_RECORD


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_refused_as_a_version_whatever_else_it_says(version: int) -> None:
    later = pack([1, version, None, 3.5, ["of the future"]])
    callee = door(NET.member(10))
    heard = Heard(callee.receive(len(later).to_bytes(4, "big") + later, NOW_MS))
    assert heard.code is RefusalCode.VERSION
    assert [type(each) for each in said(heard.effects)] == [Refusing]


@pytest.mark.parametrize(
    "early",
    [
        Introduction(b"r", b"c", b"p" * 64, b"t" * 32),
        Welcome((), b"p" * 64, b"t" * 32),
        JoinRequest(b"r"),
        JoinGrant(b"g"),
        DoorHello(NET.trust.network_id, nonce(1), b"r", b"c"),
        Refusing(RefusalCode.BUSY, ""),
    ],
)
def test_a_door_answers_nothing_to_one_who_does_not_begin_with_hello(
    early: Introduction | Welcome | JoinRequest | JoinGrant | DoorHello | Refusing,
) -> None:
    heard = Heard(door(NET.member(10)).receive(framed(early), NOW_MS))
    assert heard.code is RefusalCode.UNEXPECTED
    assert heard.kinds == ["Close"]


def test_a_second_hello_is_refused_aloud() -> None:
    hello = framed(Hello(NET.trust.network_id, nonce(1)))
    heard = Heard(door(NET.member(10)).receive(hello + hello, NOW_MS))
    assert heard.code is RefusalCode.UNEXPECTED
    assert heard.kinds == ["Send", "Send", "Close"]


def test_after_the_end_nothing_comes_out() -> None:
    caller, callee = dialer(NET.member(11)), door(NET.member(10))
    meet(caller, callee)
    assert caller.state is callee.state is State.DONE
    assert callee.receive(b"\0\0\0\x05hello", NOW_MS) == []
    assert callee.closed() == caller.closed() == []


def test_a_stream_that_ends_early_is_an_end() -> None:
    caller = dialer(NET.member(11))
    caller.start()
    heard = Heard(caller.closed())
    assert heard.code is RefusalCode.DISCONNECTED


def test_two_members_that_dial_each_other_at_once_both_get_one_session() -> None:
    tables = {10: SessionTable(), 11: SessionTable()}
    members = {10: NET.member(10), 11: NET.member(11)}
    for one, other in ((10, 11), (11, 10)):
        called, heard = meet(dialer(members[one], tables[one]), door(members[other], tables[other]))
        tables[one].admit(called.sessions[0])
        tables[other].admit(heard.sessions[0])
    for table in tables.values():
        table.check_invariants()
        assert len(table) == 1
