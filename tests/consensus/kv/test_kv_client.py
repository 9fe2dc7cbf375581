"""The client's side of a session: against replies made up, and against a store on a bad line."""

import random

import pytest
from kv_lab import ANNA, SMALL, Lab, client

from consensus.kv import (
    ClientSession,
    Done,
    Limits,
    Refusal,
    Refused,
    Reply,
    Result,
    Sent,
    SessionNotOpen,
    Unknown,
    WindowFull,
    acquire,
    compare_set,
    delete,
    encode_register,
    put,
)
from consensus.kv.model import WINDOW

OK = Reply(9, None, (Result(None, 9),))


def opened(lab: Lab) -> ClientSession:
    session = ClientSession(ANNA, 60_000)
    session.registered(lab.apply(session.register()))
    return session


def test_a_request_is_numbered_answered_and_acknowledged_by_the_next() -> None:
    lab = Lab()
    session = opened(lab)
    sent = session.request(put("k", b"v"))
    assert sent.sequence == 1
    assert session.in_flight == (1,)
    assert session.replied(1, lab.apply(sent.command)) == Done(1, (Result(None, 2),))
    lab.apply(session.request(put("k", b"w")).command)
    view = lab.store.session(ANNA)
    assert view is not None
    assert view.acknowledged == session.acknowledged == 1


def test_a_refused_operation_is_refused_and_in_a_batch_a_result() -> None:
    lab = Lab()
    session = opened(lab)
    one = session.request(delete("k"))
    outcome = session.replied(one.sequence, lab.apply(one.command))
    assert outcome == Refused(1, Refusal.NOT_FOUND, (Result(Refusal.NOT_FOUND),))
    many = session.request_batch([delete("k"), put("k", b"v")])
    outcome = session.replied(many.sequence, lab.apply(many.command))
    assert isinstance(outcome, Done)
    assert [result.accepted for result in outcome.results] == [False, True]


def test_what_is_lost_is_resent_as_the_same_bytes_until_it_is_answered() -> None:
    lab = Lab()
    session = opened(lab)
    sent = [session.request(put(key, b"v")) for key in "abc"]
    assert session.to_resend() == ()
    session.lost(3)
    session.lost(1)
    assert session.to_resend() == (sent[0], sent[2])
    assert session.to_resend() == ()
    session.lost(3)
    assert session.to_resend() == (sent[2],)
    session.lost(7)


def test_a_retried_acquire_finds_its_own_token() -> None:
    lab = Lab()
    session = opened(lab)
    sent = session.request(acquire("lock", "anna", 1000))
    lab.apply(sent.command)  # its reply is lost
    session.lost(sent.sequence)
    (again,) = session.to_resend()
    outcome = session.replied(again.sequence, lab.apply(again.command))
    assert outcome == Done(1, (Result(None, 0, 2, 2000),))


def test_replies_to_settled_requests_are_ignored() -> None:
    session = opened(Lab())
    session.request(put("k", b"v"))
    assert session.replied(1, OK) is not None
    assert session.replied(1, OK) is None
    assert session.replied(5, OK) is None


def test_the_window_waits_for_the_oldest() -> None:
    session = opened(Lab())
    for _ in range(WINDOW):
        session.request(put("k", b"v"))
    for sequence in range(2, WINDOW + 1):
        session.replied(sequence, OK)
    with pytest.raises(WindowFull, match="request 1 has no outcome"):
        session.request(put("k", b"v"))
    session.abandon(1)
    assert session.acknowledged == WINDOW
    assert session.request(put("k", b"v")).sequence == WINDOW + 1


def test_what_was_abandoned_does_not_run_later() -> None:
    lab = Lab()
    session = opened(lab)
    late = session.request(put("k", b"late"))
    assert session.abandon(1) == Unknown(1)
    lab.apply(session.request(put("other", b"")).command)
    assert lab.apply(late.command).refusal is Refusal.SEQUENCE_OLD
    assert lab.value("k") is None


def test_a_full_window_at_the_store_is_tried_again() -> None:
    session = opened(Lab())
    sent = session.request(put("k", b"v"))
    assert session.replied(1, Reply(9, Refusal.WINDOW_FULL)) is None
    assert session.to_resend() == (sent,)


def test_a_session_that_is_gone_leaves_open_what_was_sent_twice() -> None:
    session = opened(Lab())
    for key in "abc":
        session.request(put(key, b"v"))
    session.lost(2)
    session.to_resend()
    gone = Reply(9, Refusal.SESSION_GONE)
    assert session.replied(1, gone) == Refused(1, Refusal.SESSION_GONE)
    assert session.replied(2, gone) == Unknown(2, Refusal.SESSION_GONE)
    assert session.close() == (Unknown(3),)
    for attempt in (lambda: session.request(put("k", b"")), session.keep_alive, session.end):
        with pytest.raises(SessionNotOpen, match="it has ended"):
            attempt()


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal.MALFORMED, Refused),
        (Refusal.SEQUENCE_INVALID, Refused),
        (Refusal.SEQUENCE_OLD, Unknown),
        (Refusal.UNKNOWN_KIND, Unknown),  # nodes that are newer run it
        (Refusal.UNKNOWN_VERSION, Unknown),
    ],
)
def test_refusals_of_the_whole_command(refusal: Refusal, kind: type) -> None:
    session = opened(Lab())
    session.request(put("k", b"v"))
    outcome = session.replied(1, Reply(9, refusal))
    assert isinstance(outcome, kind)
    assert outcome[1] is refusal


def test_registration() -> None:
    lab = Lab()
    session = ClientSession(ANNA, 60_000)
    with pytest.raises(SessionNotOpen, match="not registered"):
        session.request(put("k", b"v"))
    number = session.registered(lab.apply(session.register()))
    assert session.registered(lab.apply(session.register())) == number
    lab.apply(session.end())
    with pytest.raises(SessionNotOpen, match="is another"):
        session.registered(lab.apply(session.register()))
    with pytest.raises(SessionNotOpen, match="out_of_range"):
        ClientSession(ANNA, 5).registered(lab.apply(encode_register(ANNA, 5)))


def test_it_is_kept_alive() -> None:
    lab = Lab()
    session = opened(lab)
    lab.now_ms += 5000
    (result,) = lab.apply(session.keep_alive()).results
    assert result.deadline_ms == 66_000


@pytest.mark.parametrize("seed", range(30))
def test_on_a_bad_line_every_request_runs_once(seed: int) -> None:
    """Each request makes a key of its own, which would be refused if it ran a second time."""
    rng = random.Random(seed)
    lab = Lab(Limits(max_sessions=2))
    session = opened(lab)
    line: list[Sent] = []
    done = 0
    for _ in range(300):
        session.check_invariants()
        choice = rng.random()
        if choice < 0.3 and len(session.in_flight) < 5:
            line.append(session.request(compare_set(f"{rng.random()}", None, b"")))
        elif choice < 0.8 and line:
            sent = rng.choice(line)
            if rng.random() < 0.7:
                line.remove(sent)
            reply = lab.apply(sent.command)
            if rng.random() < 0.6:
                outcome = session.replied(sent.sequence, reply)
                assert outcome is None or isinstance(outcome, Done), f"seed {seed}: {outcome}"
                done += outcome is not None
        else:
            for sequence in session.in_flight:
                session.lost(sequence)
            line += session.to_resend()
    while session.in_flight:
        for sequence in session.in_flight:
            session.lost(sequence)
        for sent in session.to_resend():
            done += isinstance(session.replied(sent.sequence, lab.apply(sent.command)), Done)
    for sent in line:
        lab.apply(sent.command)
    assert len(lab.store) == done == session.acknowledged, f"seed {seed}"


def test_an_evicted_client_is_never_told_that_it_failed_when_it_may_have_run() -> None:
    lab = Lab(SMALL)
    session = opened(lab)
    sent = session.request(put("k", b"v"))
    lab.apply(sent.command)
    for number in range(3):
        lab.register(client(number))
    session.lost(1)
    (again,) = session.to_resend()
    outcome = session.replied(1, lab.apply(again.command))
    assert outcome == Unknown(1, Refusal.SESSION_GONE)
