"""Joining with a ticket, with a real issuer and its directory; every way to be refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS, NOW_MS, key, lab

from keys import Genesis, Identity, Keystore, Role, Ticket, accept_grant, make_join_request
from keys.canonical import decode, encode
from keys.errors import (
    GrantRefused,
    HomeDamaged,
    InvalidName,
    InvalidValue,
    IssuerUnable,
    JoinBadSignature,
    JoinRequestMalformed,
    JoinWrongNetwork,
    KeysError,
    Refused,
    TicketExpired,
    TicketRefused,
    TicketUnknown,
    TicketUsed,
    TicketWrongSecret,
)
from keys.issuing import Issuer, make_issuer
from keys.issuing.issued_book import IssuedBook
from keys.issuing.issuer import MAX_TTL_S
from keys.issuing.ticket_book import FORGET_AFTER_MS, MAX_TICKETS, TicketBook
from keys.join import encode_grant
from keys.trust import Chain

TALK = b"t" * 32
LATE_MS = NOW_MS + 900_000 + 1


@dataclass(frozen=True)
class Scene:
    home: Path
    issuer: Issuer
    ticket: Ticket
    newcomer: Identity

    def request(self, name: str = "beta", talk: bytes = TALK) -> bytes:
        return make_join_request(self.ticket, self.newcomer, name, talk, NOW_MS)


def network(home: Path, name: str = "lan") -> Issuer:
    made = Keystore.create_network(home, name, "alpha", 3, now_ms=NOW_MS)
    assert made.issuer is not None
    return made.issuer


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    issuer = network(tmp_path / "alpha")
    ticket = issuer.invite(NOW_MS, addresses=[("127.0.0.1", 4747)])
    return Scene(tmp_path / "alpha", issuer, Ticket.parse(ticket.export_secret()), key(9))


def changed_request(request: bytes, **changes: object) -> bytes:
    outer = decode(request, 4096)
    assert isinstance(outer, dict)
    return encode({**outer, **{int(name[1:]): value for name, value in changes.items()}})


def test_a_ticket_makes_its_bearer_a_member(scene: Scene) -> None:
    grant = scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    joined = accept_grant(scene.ticket, scene.newcomer, grant, NOW_MS)
    leaf = joined.chain.leaf
    assert (leaf.name, leaf.roles, leaf.peer_id) == ("beta", Role.SERVICE, scene.newcomer.peer_id)
    assert joined.genesis == scene.issuer.genesis


def test_the_secret_of_the_ticket_never_travels_and_is_not_kept(scene: Scene) -> None:
    secret = scene.ticket.secret
    assert secret not in scene.request()
    for path in scene.home.rglob("*"):
        assert path.is_dir() or secret not in path.read_bytes()


def test_the_same_key_asking_again_gets_the_same_grant(scene: Scene) -> None:
    first = scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    again = scene.request("another-name", b"u" * 32)
    assert scene.issuer.redeem(again, b"u" * 32, NOW_MS + 1) == first
    assert scene.issuer.redeem(scene.request(), TALK, LATE_MS) == first


def test_a_restarted_issuer_gives_the_same_grant(scene: Scene) -> None:
    first = scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    restarted = Keystore.open(scene.home).issuer
    assert restarted is not None
    assert restarted.redeem(scene.request(), TALK, NOW_MS + 5) == first


def test_a_used_ticket_lets_no_other_key_in(scene: Scene) -> None:
    scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    other = make_join_request(scene.ticket, key(10), "beta", TALK, NOW_MS)
    with pytest.raises(TicketUsed):
        scene.issuer.redeem(other, TALK, NOW_MS)


def test_of_many_who_use_one_ticket_at_once_one_gets_in(scene: Scene) -> None:
    requests = [
        make_join_request(scene.ticket, key(seed), "beta", TALK, NOW_MS) for seed in range(20, 36)
    ]

    def redeem(request: bytes) -> bytes | None:
        try:
            return scene.issuer.redeem(request, TALK, NOW_MS)
        except TicketUsed:
            return None

    with ThreadPoolExecutor(16) as pool:
        grants = [grant for grant in pool.map(redeem, requests) if grant is not None]
    assert len(grants) == 1


def test_an_expired_ticket_lets_nobody_in(scene: Scene) -> None:
    request = scene.request()
    scene_deadline_ms = scene.ticket.expires_s * 1000
    with pytest.raises(TicketExpired):
        scene.issuer.redeem(request, TALK, scene_deadline_ms + 1)
    with pytest.raises(TicketExpired):
        make_join_request(scene.ticket, scene.newcomer, "beta", TALK, scene_deadline_ms + 1)
    assert scene.issuer.redeem(request, TALK, scene_deadline_ms)


def test_a_ticket_of_another_issuer_is_unknown(scene: Scene) -> None:
    for path in (scene.home / "tickets").iterdir():
        path.unlink()
    with pytest.raises(TicketUnknown):
        scene.issuer.redeem(scene.request(), TALK, NOW_MS)


def test_a_guessed_secret_is_refused_and_burns_nothing(scene: Scene) -> None:
    ticket = scene.ticket
    guess = Ticket.make(
        ticket.network_id, ticket.ticket_id, bytes(16), ticket.expires_s, ticket.roles, []
    )
    for _ in range(3):
        with pytest.raises(TicketWrongSecret):
            scene.issuer.redeem(
                make_join_request(guess, key(10), "mallory", TALK, NOW_MS), TALK, NOW_MS
            )
    assert scene.issuer.redeem(scene.request(), TALK, NOW_MS)


def test_a_request_seen_on_one_connection_is_worth_nothing_on_another(scene: Scene) -> None:
    with pytest.raises(TicketWrongSecret):
        scene.issuer.redeem(scene.request(), b"another conversation", NOW_MS)


def test_a_request_cannot_be_turned_to_another_key(scene: Scene) -> None:
    """Whoever saw the request keeps its mac and puts their own signature or key in it."""
    request = scene.request()
    mallory = make_join_request(scene.ticket, key(10), "beta", TALK, NOW_MS)
    stolen = decode(mallory, 4096)
    assert isinstance(stolen, dict)
    with pytest.raises(JoinBadSignature):
        scene.issuer.redeem(changed_request(request, f3=stolen[3]), TALK, NOW_MS)
    with pytest.raises(TicketWrongSecret):
        scene.issuer.redeem(changed_request(request, f1=stolen[1]), TALK, NOW_MS)


def test_a_ticket_of_another_network_is_told_so(scene: Scene, tmp_path: Path) -> None:
    other = network(tmp_path / "other", "wan")
    with pytest.raises(JoinWrongNetwork):
        other.redeem(scene.request(), TALK, NOW_MS)


def test_an_issuer_whose_certificate_ended_says_that_it_is_its_own_fault(scene: Scene) -> None:
    end_ms = scene.issuer.chain.leaf.not_after_ms
    ticket = scene.issuer.invite(end_ms, ttl_s=3600)
    request = make_join_request(ticket, scene.newcomer, "beta", TALK, end_ms)
    with pytest.raises(IssuerUnable):
        scene.issuer.redeem(request, TALK, end_ms + 600_000)


def test_roles_are_those_the_issuer_noted_whatever_the_line_says(scene: Scene) -> None:
    noted = scene.ticket
    forged = Ticket.make(
        noted.network_id, noted.ticket_id, noted.secret, noted.expires_s, Role.ADMIN, []
    )
    request = make_join_request(forged, scene.newcomer, "beta", TALK, NOW_MS)
    grant = scene.issuer.redeem(request, TALK, NOW_MS)
    assert accept_grant(forged, scene.newcomer, grant, NOW_MS).chain.leaf.roles == Role.SERVICE


def test_an_expiry_that_the_bearer_wrote_does_not_count(scene: Scene) -> None:
    noted = scene.ticket
    forged = Ticket.make(
        noted.network_id, noted.ticket_id, noted.secret, noted.expires_s + 9999, noted.roles, []
    )
    request = make_join_request(forged, scene.newcomer, "beta", TALK, LATE_MS)
    with pytest.raises(TicketExpired):
        scene.issuer.redeem(request, TALK, LATE_MS)


def test_namespaces_of_the_invitation_are_in_the_certificate(scene: Scene) -> None:
    ticket = scene.issuer.invite(NOW_MS, namespaces=["shop", "bank.eu"])
    request = make_join_request(ticket, scene.newcomer, "beta", TALK, NOW_MS)
    grant = scene.issuer.redeem(request, TALK, NOW_MS)
    joined = accept_grant(ticket, scene.newcomer, grant, NOW_MS)
    assert joined.chain.leaf.namespaces == ("bank.eu", "shop")


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_TTL_S + 1])
def test_a_ticket_has_a_sensible_lifetime(scene: Scene, ttl_s: int) -> None:
    with pytest.raises(InvalidValue):
        scene.issuer.invite(NOW_MS, ttl_s)


def test_an_issuer_invites_to_no_more_than_it_may_give(tmp_path: Path) -> None:
    made = lab()
    narrow = make_issuer(
        made.root, made.top, made.issuer.public_key, "n", NOW_MS, max_roles=Role.SERVICE
    )
    above = Chain((narrow, made.top))
    issuer = Issuer(
        made.issuer, above, made.genesis(), TicketBook(tmp_path), IssuedBook(tmp_path / "issued")
    )
    assert issuer.invite(NOW_MS, roles=Role.SERVICE)
    with pytest.raises(InvalidValue, match="roles"):
        issuer.invite(NOW_MS, roles=Role.SERVICE | Role.OBSERVER)
    with pytest.raises(InvalidValue, match="namespaces"):
        issuer.invite(NOW_MS, namespaces=["Not A Namespace"])


def test_a_name_that_cannot_be_one_is_told_before_anybody_is_asked(scene: Scene) -> None:
    with pytest.raises(InvalidName):
        scene.request("two words")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=600))
def test_random_bytes_are_no_request(scene: Scene, data: bytes) -> None:
    with pytest.raises(JoinRequestMalformed):
        scene.issuer.redeem(data, TALK, NOW_MS)


def test_no_bit_of_a_request_can_be_changed(scene: Scene) -> None:
    request = scene.request()
    for position in range(len(request)):
        changed = bytearray(request)
        changed[position] ^= 1
        with pytest.raises(Refused):
            scene.issuer.redeem(bytes(changed), TALK, NOW_MS)
    assert not list((scene.home / "tickets").glob("*.used"))


def test_no_bit_of_a_grant_can_be_changed(scene: Scene) -> None:
    grant = scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    for position in range(len(grant)):
        changed = bytearray(grant)
        changed[position] ^= 4
        with pytest.raises(GrantRefused):
            accept_grant(scene.ticket, scene.newcomer, bytes(changed), NOW_MS)


def test_a_door_of_another_network_cannot_make_us_join_it(scene: Scene, tmp_path: Path) -> None:
    theirs = network(tmp_path / "theirs")
    ticket = theirs.invite(NOW_MS)
    request = make_join_request(ticket, scene.newcomer, "beta", TALK, NOW_MS)
    grant = theirs.redeem(request, TALK, NOW_MS)
    with pytest.raises(GrantRefused, match="network"):
        accept_grant(scene.ticket, scene.newcomer, grant, NOW_MS)


def test_a_grant_with_a_genesis_of_another_name_is_refused() -> None:
    made = lab()
    renamed = Genesis.make(made.root, made.issuer.public_key, "wan", 3, NOW_MS)
    ticket = Ticket.make(made.trust.network_id, b"12345678", bytes(16), 2**31, Role.SERVICE, [])
    with pytest.raises(GrantRefused, match="differently"):
        accept_grant(ticket, made.peer, encode_grant(made.chain, renamed), NOW_MS)


def test_a_grant_for_another_key_is_refused(scene: Scene) -> None:
    grant = scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    with pytest.raises(GrantRefused, match="is for"):
        accept_grant(scene.ticket, key(10), grant, NOW_MS)


def test_a_grant_seen_long_after_its_certificate_ended_is_refused(scene: Scene) -> None:
    grant = scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    with pytest.raises(GrantRefused, match="ended"):
        accept_grant(scene.ticket, scene.newcomer, grant, NOW_MS + 100 * DAY_MS)


def test_a_damaged_note_is_told_and_keeps_no_other_ticket_from_working(scene: Scene) -> None:
    note = scene.home / "tickets" / f"{scene.ticket.name}.ticket"
    note.write_bytes(b"\xc1")
    with pytest.raises(HomeDamaged):
        scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    fresh = scene.issuer.invite(NOW_MS)
    request = make_join_request(fresh, scene.newcomer, "beta", TALK, NOW_MS)
    assert scene.issuer.redeem(request, TALK, NOW_MS)


def test_a_damaged_used_mark_never_lets_a_second_key_in(scene: Scene) -> None:
    scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    (scene.home / "tickets" / f"{scene.ticket.name}.used").write_bytes(b"")
    with pytest.raises(HomeDamaged):
        scene.issuer.redeem(scene.request(), TALK, NOW_MS)


def test_tickets_are_forgotten_a_month_after_they_expired(scene: Scene) -> None:
    tickets = scene.home / "tickets"
    scene.issuer.redeem(scene.request(), TALK, NOW_MS)
    scene.issuer.invite(LATE_MS + FORGET_AFTER_MS - 1000)
    assert len(list(tickets.iterdir())) == 3
    scene.issuer.invite(LATE_MS + FORGET_AFTER_MS + 1000)
    assert len(list(tickets.iterdir())) == 2
    with pytest.raises(TicketUnknown):
        scene.issuer.redeem(scene.request(), TALK, NOW_MS)


def test_there_is_a_bound_on_outstanding_tickets(scene: Scene) -> None:
    tickets = scene.home / "tickets"
    for number in range(MAX_TICKETS):
        (tickets / f"{number:016x}.ticket").write_bytes(b"")
    with pytest.raises(InvalidValue, match="kept already"):
        scene.issuer.invite(NOW_MS)


def test_no_error_shows_a_secret(scene: Scene) -> None:
    secret = scene.ticket.secret
    shown = [repr(scene.ticket), str(scene.ticket), repr(scene.issuer), repr(scene.newcomer)]
    attempts = [
        (scene.request(), b"", NOW_MS),
        (scene.request(), TALK, LATE_MS),
        (b"", TALK, NOW_MS),
    ]
    for request, talk, now_ms in attempts:
        with pytest.raises(KeysError) as refused:
            scene.issuer.redeem(request, talk, now_ms)
        shown += [str(refused.value), repr(refused.value)]
    for text in shown:
        for value in (secret, scene.newcomer.export_secret()):
            assert value.hex() not in text
            assert repr(value)[2:-1] not in text
    assert issubclass(TicketExpired, TicketRefused)
    assert TicketExpired.definite
