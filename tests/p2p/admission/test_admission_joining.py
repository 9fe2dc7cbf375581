"""Joining over the cores alone: a real issuer, no sockets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from admission_lab import NOW_MS, Heard, converse, door, framed, nonce, said, seeded, written

from keys import InvalidName, Keystore, Ticket, TransportKey, TransportRecord
from keys.issuing import Issuer
from p2p.admission import (
    Close,
    Credentials,
    Hint,
    Joined,
    JoinerHandshake,
    Learn,
    Redeem,
    RefusalCode,
)
from p2p.admission.handshake import State
from p2p.admission.messages import JoinGrant, JoinHello, JoinRequest, Refusing

PORTS = {"door": 4747, "control": 4748, "data": 4749, "topics": 4750}
ADDRESS = ("127.0.0.1", 4747)


class Home:
    """A network of one node that can issue."""

    def __init__(self, path: Path) -> None:
        self.keystore = Keystore.create_network(path, "lan", "first", 3, now_ms=NOW_MS)
        assert self.keystore.issuer is not None
        self.issuer: Issuer = self.keystore.issuer
        self.record = TransportRecord.make(
            self.keystore.identity,
            self.keystore.chain,
            sequence=1,
            curve_public=bytes(32),
            hosts=["127.0.0.1"],
            ports=PORTS,
            now_ms=NOW_MS,
        )
        self.credentials = Credentials(
            self.keystore.identity,
            self.keystore.chain,
            self.keystore.trust,
            "first",
            lambda: self.record,
            lambda: (TransportKey.generate(),),
            lambda: NOW_MS,
        )

    def invite(self) -> Ticket:
        return self.issuer.invite(NOW_MS, addresses=[ADDRESS])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def joiner(ticket: Ticket, seed: int = 20, name: str = "second") -> JoinerHandshake:
    return JoinerHandshake(ticket, seeded(seed), name, nonce(seed))


def test_a_ticket_makes_a_member(home: Home) -> None:
    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    called, heard = converse(caller, callee, caller.start())
    redeem = heard.effects[-1]
    assert isinstance(redeem, Redeem)
    assert callee.state is State.REDEEMING
    grant = home.issuer.redeem(redeem.request, redeem.transcript, NOW_MS)
    effects = caller.receive(written(callee.granted(grant)), NOW_MS)
    assert [type(each) for each in effects] == [Joined, Close]
    assert isinstance(effects[0], Joined)
    assert effects[0].network.chain.leaf.name == "second"
    assert effects[0].network.chain.leaf.public_key == seeded(20).public_key
    assert called.kinds == ["Send", "Send"]


def test_the_secret_never_travels(home: Home) -> None:
    ticket = home.invite()
    caller, callee = joiner(ticket), door(home.credentials, issues=True)
    called, heard = converse(caller, callee, caller.start())
    assert ticket.secret not in written(called.effects) + written(heard.effects)


def test_a_request_made_at_one_door_is_worthless_at_another(home: Home) -> None:
    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    called, heard = converse(caller, callee, caller.start())
    elsewhere = door(home.credentials, issues=True, fresh=nonce(9))
    hello, request = said(called.effects)
    elsewhere.receive(framed(hello), NOW_MS)
    [seen] = heard.effects[1:]
    [again] = elsewhere.receive(framed(request), NOW_MS)
    assert isinstance(seen, Redeem)
    assert isinstance(again, Redeem)
    assert seen.request == again.request
    assert seen.transcript != again.transcript


def test_a_door_without_an_issuer_names_others_at_once(home: Home) -> None:
    hints = [Hint(seeded(50).peer_id, ("192.0.2.50",), 4747)] * 20
    caller, callee = joiner(home.invite()), door(home.credentials, hints=hints)
    called, heard = converse(caller, callee, caller.start())
    assert heard.code is called.code is RefusalCode.NOT_ISSUER
    [learned] = [each for each in called.effects if isinstance(each, Learn)]
    assert len(learned.hints) == 8
    assert not caller.asked


def test_a_door_of_another_network_is_not_asked(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    caller, callee = joiner(other.invite()), door(home.credentials, issues=True)
    called, heard = converse(caller, callee, caller.start())
    assert called.code is heard.code is RefusalCode.WRONG_NETWORK
    assert not caller.asked


def test_a_door_that_lies_about_its_network_sees_no_request(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    liar = replace(other.credentials, trust=home.keystore.trust)
    caller, callee = joiner(home.invite()), door(liar, issues=True)
    called, _ = converse(caller, callee, caller.start())
    assert called.code is RefusalCode.WRONG_NETWORK
    assert not caller.asked


def test_a_grant_of_another_network_is_refused(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    ticket = other.invite()
    rogue, rogue_door = joiner(ticket), door(other.credentials, issues=True)
    _, heard = converse(rogue, rogue_door, rogue.start())
    redeem = heard.effects[-1]
    assert isinstance(redeem, Redeem)
    foreign = other.issuer.redeem(redeem.request, redeem.transcript, NOW_MS)

    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    converse(caller, callee, caller.start())
    heard = Heard(caller.receive(framed(JoinGrant(foreign)), NOW_MS))
    assert heard.code is RefusalCode.BAD_GRANT
    assert "Joined" not in heard.kinds


def test_a_grant_before_the_request_is_refused(home: Home) -> None:
    caller = joiner(home.invite())
    caller.start()
    assert Heard(caller.receive(framed(JoinGrant(b"g")), NOW_MS)).code is RefusalCode.UNEXPECTED


def test_a_ticket_that_is_over_is_not_shown(home: Home) -> None:
    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    called, _ = converse(caller, callee, caller.start(), now_ms=NOW_MS + 901_000)
    assert called.code is RefusalCode.TICKET_EXPIRED
    assert not caller.asked


def test_a_name_that_is_none_is_found_before_anything_is_sent(home: Home) -> None:
    with pytest.raises(InvalidName):
        joiner(home.invite(), name="no such\nname")


def test_a_joiner_cannot_say_what_is_the_doors_to_say(home: Home) -> None:
    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    converse(caller, callee, caller.start())
    assert callee.state is State.REDEEMING
    assert Heard(callee.receive(framed(JoinGrant(b"g")), NOW_MS)).code is RefusalCode.UNEXPECTED


def test_a_second_request_while_the_first_is_redeemed_is_refused(home: Home) -> None:
    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    converse(caller, callee, caller.start())
    heard = Heard(callee.receive(framed(JoinRequest(b"again")), NOW_MS))
    assert heard.code is RefusalCode.UNEXPECTED
    assert callee.granted(b"late") == [], "a grant for nobody is no harm"
    assert callee.declined(RefusalCode.TICKET_USED, "") == []


def test_a_refused_joiner_reads_why(home: Home) -> None:
    caller, callee = joiner(home.invite()), door(home.credentials, issues=True)
    converse(caller, callee, caller.start())
    effects = callee.declined(RefusalCode.TICKET_USED, "used by another")
    assert [type(each) for each in said(effects)] == [Refusing]
    called = Heard(caller.receive(written(effects), NOW_MS))
    assert called.refusal is not None
    assert (called.code, called.refusal.theirs) == (RefusalCode.TICKET_USED, True)


def test_a_door_hears_nothing_of_a_joiner_but_its_network_and_a_nonce(home: Home) -> None:
    ticket = home.invite()
    assert said(joiner(ticket).start()) == [JoinHello(ticket.network_id, nonce(20))]
