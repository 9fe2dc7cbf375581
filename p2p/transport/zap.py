"""Who gets in: the ZAP handler (https://rfc.zeromq.org/spec/27/), in a thread of its own.

It answers from the table by which the event loop attributes frames, so that both name the same
keys at every moment, and a blocked event loop never stalls a handshake. A look into a dict of
strings is one step to other threads, so no lock is needed. It survives any request: an exception is
a 500 and a number.

Does not know: peers, certificates, lanes, where requests come in (`zap_desk`). It knows CURVE keys
and the user id that libzmq shall put on every message of such a key: its hex. It must be started
before any other socket of its context is bound.

Invariant: a key that is not in the table gets 400. No handler at all also lets nobody in,
because every listener enforces its ZAP domain.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

import zmq

from p2p.transport.counters import TransportCounters
from p2p.transport.sockets import ZAP_DOMAIN
from p2p.transport.zap_desk import ENDPOINT, ZapDesk

_ENVELOPE_PARTS = 2  # return address and an empty delimiter
_JOIN_S = 1.0
_WELCOME = b"200"
_REQUEST_PARTS = 7  # version, request id, domain, address, identity, mechanism, credentials


class ZapHandler:
    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        counters: TransportCounters,
        allowed: Mapping[str, object],
        quiet_ms: int,
    ) -> None:
        """`allowed` has a user id for each key that gets in, and is kept up to date by its maker,
        in one thread. `quiet_ms`: see `zap_desk`."""
        self._context = context
        self._counters = counters
        self._quiet_ms = quiet_ms
        self._allowed = allowed
        self._probes: frozenset[bytes] = frozenset()
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        desk = ZapDesk(self._context, self._quiet_ms)
        self._thread = threading.Thread(
            target=self._serve, args=(desk,), name="conclave-zap", daemon=True
        )
        self._thread.start()

    def expect_probes(self, keys: frozenset[bytes]) -> None:
        """Keys of our own self-test: denied like any other, but not counted."""
        self._probes = keys

    def stop(self) -> None:
        """End the thread. After that nobody gets in."""
        if self._thread is None:
            return
        self._stopping = True
        wake = self._context.socket(zmq.DEALER)
        wake.setsockopt(zmq.LINGER, 0)
        wake.connect(ENDPOINT)
        with suppress(zmq.Again):  # it is gone already
            wake.send(b"", zmq.NOBLOCK)
        self._thread.join(timeout=_JOIN_S)
        wake.close()

    def _serve(self, desk: ZapDesk) -> None:
        try:
            while True:
                try:
                    request = desk.next()
                    if self._stopping:
                        return
                    self._answer(desk, request)
                except zmq.ContextTerminated:
                    return
                except Exception:  # noqa: BLE001 - were this thread to die, handshakes would hang
                    self._counters.zap_errors += 1
        finally:
            desk.close()

    def _answer(self, desk: ZapDesk, request: list[bytes]) -> None:
        envelope, body = request[:_ENVELOPE_PARTS], request[_ENVELOPE_PARTS:]
        request_id = body[1] if len(body) > 1 else b""
        try:
            status, text, user_id = self._decide(body)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the answer is no
            # A supervisor: whatever a request holds, its handshake gets an answer.
            self._counters.zap_errors += 1
            status, text, user_id = b"500", b"internal error", b""
        # The last part is metadata. It stays empty: roles are looked up in our own table, since a
        # peer may set properties of its own that look the same.
        answer = [*envelope, b"1.0", request_id, status, text, user_id, b""]
        desk.answer(answer, is_welcome=status == _WELCOME)

    def _decide(self, body: list[bytes]) -> tuple[bytes, bytes, bytes]:
        if len(body) != _REQUEST_PARTS or body[0] != b"1.0":
            self._counters.zap_errors += 1
            return b"500", b"not a ZAP 1.0 request", b""
        _, _, domain, _, _, mechanism, key = body
        user_id = key.hex()
        if domain == ZAP_DOMAIN and mechanism == b"CURVE" and user_id in self._allowed:
            self._counters.zap_accepted += 1
            return _WELCOME, b"welcome", user_id.encode()
        if key not in self._probes:
            self._counters.zap_denied += 1
        return b"400", b"unknown key", b""
