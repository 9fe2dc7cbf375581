"""Papers of those whom we have not met: who is believed, and for how long."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from peer_lab import WALL_MS, Authority

from keys import Identity, TransportKey, TransportRecord, Trust, decode_id, entry_of_key
from keys import Role as KeyRole
from p2p import Papers
from p2p.members.messages import (
    MAX_WANTED,
    papers_from_wire,
    papers_message,
    wanted_from_wire,
    wanted_message,
)
from p2p.members.papers import DOMAIN, PaperBook, mark_of, sign_as
from p2p.wire import encode_payload

HOUR_MS = 3_600_000


class Shelf:
    """A book, and a clock that a test moves."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.trust: Trust = self.authority.papers("reader").trust
        self.now_ms = WALL_MS
        self.book = PaperBook(lambda: self.trust, lambda: self.now_ms)

    def put(self, papers: Papers, sequence: int = 1) -> bool:
        taken = self.book.take(papers.chain.encode(), record_of(papers, sequence).raw)
        self.book.check_invariants()
        return taken == papers.identity.peer_id


def record_of(papers: Papers, sequence: int = 1) -> TransportRecord:
    return TransportRecord.make(
        papers.identity,
        papers.chain,
        sequence=sequence,
        curve_public=TransportKey.from_secret(Random(sequence).randbytes(32)).public,
        hosts=("10.0.0.9",),
        ports={"door": 4747, "control": 1, "data": 2, "topics": 3},
        now_ms=WALL_MS,
    )


def test_a_member_is_known_by_papers_that_another_passed_on() -> None:
    shelf = Shelf()
    papers = shelf.authority.papers("far")
    peer_id = papers.identity.peer_id
    said = sign_as(papers.identity, shelf.trust.network_id, b"word")
    assert shelf.book.has_signed(peer_id, b"word", said) is None, "not known yet"
    assert shelf.put(papers)
    assert shelf.book.has_signed(peer_id, b"word", said) is True
    assert shelf.book.has_signed(peer_id, b"other", said) is False


def test_words_of_another_network_or_for_another_purpose_do_not_count() -> None:
    shelf = Shelf()
    papers = shelf.authority.papers("far")
    shelf.put(papers)
    elsewhere = Authority("elsewhere", seed=9).papers("x").trust.network_id
    peer_id, network = papers.identity.peer_id, shelf.trust.network_id
    foreign = sign_as(papers.identity, elsewhere, b"word")
    assert shelf.book.has_signed(peer_id, b"word", foreign) is False
    bare = papers.identity.sign(DOMAIN, b"word")
    assert shelf.book.has_signed(peer_id, b"word", bare) is False
    by_another = sign_as(Identity.generate(), network, b"word")
    assert shelf.book.has_signed(peer_id, b"word", by_another) is False


def test_papers_of_another_network_and_garbage_are_not_kept() -> None:
    shelf = Shelf()
    stranger = Authority("elsewhere", seed=9).papers("x")
    good = shelf.authority.papers("far")
    assert not shelf.put(stranger)
    chain, record = good.chain.encode(), record_of(good).raw
    other = record_of(shelf.authority.papers("near")).raw
    for pair in ((b"", record), (chain, b""), (chain, other), (chain[:-1], record)):
        assert shelf.book.take(*pair) is None
    assert len(shelf.book) == 0
    assert sum(shelf.book.counts.values()) == 5


def test_an_older_record_never_takes_the_place_of_a_newer_one() -> None:
    shelf = Shelf()
    papers = shelf.authority.papers("far")
    shelf.put(papers, 5)
    shelf.put(papers, 4)
    kept = shelf.book.get(papers.identity.peer_id)
    assert kept is not None
    assert kept.mark == mark_of(record_of(papers, 5))


def test_the_same_papers_are_verified_once_while_the_trust_is_the_same() -> None:
    shelf = Shelf()
    papers = shelf.authority.papers("far")
    peer_id = papers.identity.peer_id
    assert [shelf.put(papers) for _ in range(3)] == [True] * 3
    assert shelf.book.counts["again"] == 2
    other = shelf.authority.papers("near").chain.encode()
    assert shelf.book.take(other, record_of(papers).raw) is None, "not its chain"
    entry = entry_of_key(decode_id(peer_id), shelf.authority.middle, WALL_MS, reason="stolen")
    listed = shelf.authority.revoke(shelf.trust.revocations, entry)
    before = shelf.trust
    shelf.trust = dataclasses.replace(before, revocations=before.revocations.taking(listed))
    assert not shelf.put(papers), "judged anew, though nobody has looked through the book yet"
    shelf.trust = before
    shelf.now_ms += 400 * 24 * HOUR_MS
    assert not shelf.put(papers), "its certificate is over"
    assert shelf.book.counts["again"] == 2


def test_the_revoked_are_dropped_and_do_not_come_back() -> None:
    shelf = Shelf()
    papers = shelf.authority.papers("far")
    shelf.put(papers)
    peer_id = papers.identity.peer_id

    entry = entry_of_key(decode_id(peer_id), shelf.authority.middle, WALL_MS, reason="stolen")
    listed = shelf.authority.revoke(shelf.trust.revocations, entry)
    shelf.trust = dataclasses.replace(
        shelf.trust, revocations=shelf.trust.revocations.taking(listed)
    )
    assert shelf.book.judge() == [peer_id]
    assert shelf.book.judge() == []
    assert not shelf.put(papers, 2)


def test_whose_certificates_are_over_does_not_count_any_more() -> None:
    shelf = Shelf()
    papers = shelf.authority.papers("far", roles=KeyRole.SERVICE)
    shelf.put(papers)
    peer_id = papers.identity.peer_id
    said = sign_as(papers.identity, shelf.trust.network_id, b"word")
    assert shelf.book.ended() == []
    shelf.now_ms += 400 * 24 * HOUR_MS
    assert shelf.book.has_signed(peer_id, b"word", said) is None
    assert shelf.book.ended() == [peer_id]
    assert peer_id not in shelf.book


def test_questions_and_answers_arrive_as_they_were_sent() -> None:
    papers = Authority().papers("far")
    peer_id = papers.identity.peer_id
    assert wanted_from_wire(wanted_message([peer_id])) == (peer_id,)
    pair = (papers.chain.encode(), record_of(papers).raw)
    assert papers_from_wire(papers_message([pair])) == (pair,)
    assert papers_from_wire(encode_payload([[*pair, "later"]])) == (pair,)


@pytest.mark.parametrize(
    "value", [7, [7], [b"short"], [bytes(32)] * (MAX_WANTED + 1), [bytes(33)], {"a": 1}]
)
def test_what_is_no_question_is_none(value: object) -> None:
    assert wanted_from_wire(encode_payload(value)) is None


@pytest.mark.parametrize(
    "value",
    [
        7,
        [7],
        [[b""]],
        [[b"", 7]],
        [["", b""]],
        [[bytes(6_001), b""]],
        [[b"", bytes(2_049)]],
        [[b"", b""]] * (MAX_WANTED + 1),
    ],
)
def test_what_is_no_answer_is_none(value: object) -> None:
    assert papers_from_wire(encode_payload(value)) is None
    assert papers_from_wire(b"\xc1") is None
