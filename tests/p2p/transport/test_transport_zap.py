"""The ZAP handler, and the self-test that proves it at work."""

from __future__ import annotations

import socket

import pytest
import zmq
from transport_lab import HASTY, Node, eventually, nodes, run, slower

from p2p.errors import TransportFailed
from p2p.links import LinkState
from p2p.transport.counters import TransportCounters
from p2p.transport.self_test import SelfTest, Verdict, judge
from p2p.transport.sockets import ZAP_DOMAIN
from p2p.transport.zap import ENDPOINT, ZapHandler

KAY = (b"k" * 32).hex()


def zap_request(**changes: bytes) -> list[bytes]:
    parts = {
        "version": b"1.0",
        "request_id": b"7",
        "domain": ZAP_DOMAIN,
        "address": b"127.0.0.1",
        "identity": b"",
        "mechanism": b"CURVE",
        "key": b"k" * 32,
    }
    return [b"", *(parts | changes).values()]


def zap_answers(requests: list[list[bytes]]) -> tuple[list[list[bytes]], TransportCounters]:
    """Ask a handler that knows one key, as libzmq would."""
    context, counters = zmq.Context(), TransportCounters()
    zap = ZapHandler(context, counters, {KAY: "kay"}, quiet_ms=1)
    zap.start()
    answers = []
    with context.socket(zmq.DEALER) as asker:
        asker.setsockopt(zmq.RCVTIMEO, 5000)
        asker.connect(ENDPOINT)
        for request in requests:
            asker.send_multipart(request)
            answers.append(asker.recv_multipart())
    assert zap.alive
    zap.stop()
    context.term()
    return answers, counters


def test_zap_answers_with_the_user_id_of_the_key() -> None:
    ((*_, request_id, status, _, user_id, metadata),), counters = zap_answers([zap_request()])
    assert (request_id, status, user_id, metadata) == (b"7", b"200", KAY.encode(), b"")
    assert counters.zap_accepted == 1


@pytest.mark.parametrize(
    ("request_parts", "status"),
    [
        (zap_request(key=b"x" * 32), b"400"),
        (zap_request(key=b""), b"400"),
        (zap_request(domain=b""), b"400"),
        (zap_request(domain=b"another"), b"400"),
        (zap_request(mechanism=b"NULL"), b"400"),
        (zap_request(version=b"2.0"), b"500"),
        (zap_request()[:5], b"500"),
        ([*zap_request(), b"more"], b"500"),
        ([b""], b"500"),
        ([b"", b"\xff" * 300], b"500"),
    ],
)
def test_zap_refuses_everything_else_and_lives_on(
    request_parts: list[bytes], status: bytes
) -> None:
    answers, _ = zap_answers([request_parts, zap_request()])
    assert answers[0][3] == status
    assert answers[1][3] == b"200"


def test_without_the_zap_handler_nobody_gets_in() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", settings=HASTY) as (ada, bob):
            assembly = ada.transport._assembly
            assert assembly is not None
            assembly.zap.stop()
            assert not assembly.zap.alive
            bob.send(ada, b"an admitted peer, even")
            await eventually(lambda: LinkState.UNREACHABLE in bob.states())
            assert not ada.frames

    run(main)


def test_a_port_that_lets_anyone_in_is_found_by_the_self_test() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            assembly = ada.transport._assembly
            with zmq.Context() as elsewhere, elsewhere.socket(zmq.ROUTER) as open_door:
                open_door.setsockopt(zmq.LINGER, 0)
                open_door.curve_secretkey = ada.key.export_secret()
                open_door.curve_server = True  # and no domain: ZAP fails open
                port = open_door.bind_to_random_port("tcp://127.0.0.1")
                counters = TransportCounters()
                test = SelfTest(
                    assembly.exchange,
                    counters,
                    assembly.zap,
                    ada.key.public,
                    {"control": ada.transport.ports["control"], "data": port},
                )
                assert await test.run() is Verdict.LET_IN
                assert counters.self_tests_passed == 0

    run(main)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_failed_self_test_closes_every_port_and_says_why() -> None:
    async def main() -> None:
        ada = Node("ada", slower(self_test_interval_ms=20, self_test_timeout_ms=1000))
        async with ada.transport:
            ada.transport._assembly.zap.stop()
            await eventually(lambda: ada.failures)
            assert isinstance(ada.failures[0], TransportFailed)
            for port in ada.transport.ports.values():
                await eventually(lambda port=port: refuses(port))

    run(main)


def test_only_being_let_in_is_fatal_at_once() -> None:
    assert judge(Verdict.REFUSED, 0, 3) is None
    assert judge(Verdict.UNANSWERED, 2, 3) is None
    assert judge(Verdict.UNANSWERED, 3, 3) is not None
    assert judge(Verdict.LET_IN, 0, 3) is not None


@pytest.mark.parametrize(
    ("verdicts", "starts"),
    [
        ((Verdict.REFUSED,), True),
        (((Verdict.UNANSWERED,) * 5 + (Verdict.REFUSED,)), True),
        ((Verdict.UNANSWERED,) * 6, False),
        ((Verdict.LET_IN,), False),
        ((Verdict.UNANSWERED, Verdict.LET_IN), False),
    ],
)
def test_a_start_forgives_five_missed_answers_and_no_open_door(
    monkeypatch: pytest.MonkeyPatch, verdicts: tuple[Verdict, ...], starts: bool
) -> None:
    left = list(verdicts)

    async def run_test(_: SelfTest) -> Verdict:
        return left.pop(0)

    async def main() -> None:
        monkeypatch.setattr(SelfTest, "run", run_test)
        ada = Node("ada", slower(self_test_interval_ms=60_000))
        if starts:
            async with ada.transport:
                pass
        else:
            with pytest.raises(TransportFailed):
                await ada.transport.start()
        assert not left

    run(main)


def test_the_self_test_denies_itself_without_counting() -> None:
    async def main() -> None:
        async with nodes("ada", settings=slower(self_test_interval_ms=10)) as (ada,):
            await eventually(lambda: ada.count("self_tests_passed") >= 4)
            assert ada.count("zap_denied") == 0
            assert not ada.failures

    run(main)
