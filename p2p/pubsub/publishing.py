"""What this peer publishes: filled into runs, kept, sent, and heard by our own subscriptions.

    publish -> a run is filled -> once per turn of the loop, or when it is full: kept, sent

A restricted message never goes where everybody reads: those who may read it get it on the data
lane, and all others see nothing of it but that a number is not theirs. A message on a topic that
somebody here may not read is restricted too.

What this module does not know: sockets, what a message holds, who subscribes here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from keys import Action, Guard, PeerId, Principal
from p2p.errors import MisuseError, NotRunning, P2PError, PayloadTooLarge, PermissionDenied
from p2p.links import Transport
from p2p.pubsub.archive import Archive
from p2p.pubsub.arrears import Arrears
from p2p.pubsub.audience import Audience
from p2p.pubsub.messages import MAX_PAGE_BYTES, MAX_RUN, Alone, encode_alone, encode_run
from p2p.pubsub.names import check_topic
from p2p.pubsub.pacing import Pacing
from p2p.pubsub.publisher import Item, Only, Publisher, Restricted, Run, may_read
from p2p.rpc import Exchange
from p2p.wire import Envelope, Kind, Priority, encode_envelope, running_trace

RESTRICTED = "topics.restricted"
MAX_PUBLICATION_BYTES = MAX_PAGE_BYTES
RUN_BYTES = 64 * 1024  # a message of ZeroMQ costs as much as the encryption of 30 KiB
_MAX_OPEN = 1024
_PUBLICATION, _NORMAL = int(Kind.PUBLICATION), int(Priority.NORMAL)

OnPublishing = Callable[[str, int], None]  # topic, number of the first
HearOwn = Callable[[str, int, int, list[Item]], None]  # topic, epoch, number of the first


class Publishing:
    """
    Args:
        epoch: of this start, greater than that of any start before.
        principal_of: says who an admitted peer is.
        guard: says whether we may publish on a topic.
        audience: says who may read one.
        hear: gets what was published, for subscriptions of our own.
        is_own_reader_full: whether one of those does not keep up.
    """

    def __init__(
        self,
        own: Principal,
        epoch: int,
        transport: Transport,
        exchange: Exchange,
        principal_of: Callable[[PeerId], Principal | None],
        guard: Guard,
        audience: Audience,
        hear: HearOwn,
        is_own_reader_full: Callable[[], bool],
        counts: Counter[str],
    ) -> None:
        self._own = own
        self._transport = transport
        self._exchange = exchange
        self._principal_of = principal_of
        self._guard = guard
        self._audience = audience
        self._hear = hear
        self._counts = counts
        self._open: dict[str, Run] = {}
        self._is_flush_due = False
        self._is_closed = False
        self.on_publishing: OnPublishing = lambda topic, first: None
        self.history = Publisher(epoch, counts=counts)
        self.archive = Archive(
            own, self.history, transport, exchange, principal_of, audience, self.flush, counts
        )
        self.arrears = Arrears(own.name, self.archive, transport, exchange)
        self.pacing = Pacing(transport, self.flush, is_own_reader_full, counts)

    def become(self, own: Principal) -> None:
        """Our own papers have changed."""
        self._own = own

    def publish(self, topic: str, payload: bytes, *, only: Only | None = None) -> int:
        """Send to all subscribers, this peer's own among them, and return the sequence number.

        Args:
            only: who may read it, asked for each subscriber now and at a replay.

        Raises:
            BadTopic: no topic can have that name.
            PayloadTooLarge: it is over `MAX_PUBLICATION_BYTES`.
            PermissionDenied: our roles, namespaces or a policy keep us from it.
        """
        run = self._open.get(topic)
        if run is None or only is not None or type(payload) is not bytes:
            return self._publish_slowly(topic, payload, only)
        size_bytes = run.size_bytes + len(payload)
        if size_bytes > RUN_BYTES or run.trace is not running_trace.get():
            return self._publish_slowly(topic, payload, only)
        items = run.items
        items.append(payload)
        run.size_bytes = size_bytes
        count = len(items)
        sequence = run.first + count - 1
        if count >= MAX_RUN:
            self._close(run)
        return sequence

    def keep_history(self, topic: str, *, messages: int = 256, bytes_: int = 1024 * 1024) -> None:
        """Keep so much of a topic of ours for those who missed it or come later.

        All histories together keep at most 64 MiB; those of the most quiet topics give way.
        """
        if messages < 0 or bytes_ < 0:
            raise MisuseError(f"a history of {messages} messages and {bytes_} bytes is less than 0")
        check_topic(topic)
        self.history.keep(topic, messages, bytes_)

    def flush(self) -> None:
        """Send what is still being filled."""
        while self._open:
            self._close(next(iter(self._open.values())))

    def close(self) -> None:
        self.flush()
        self._is_closed = True
        self.archive.close()

    def _publish_slowly(self, topic: str, payload: bytes, only: Only | None) -> int:
        """Publish what does not simply go into the open run."""
        if type(payload) is not bytes:
            raise MisuseError(f"a payload is bytes and not {type(payload).__name__}; encode it")
        if len(payload) > MAX_PUBLICATION_BYTES:
            raise PayloadTooLarge(len(payload), MAX_PUBLICATION_BYTES, "publication")
        if self._is_closed:
            raise NotRunning("this peer")
        if only is not None:
            only(self._own)  # one that raises shall raise here
        trace = running_trace.get()
        run = self._open.get(topic)
        if run is None:
            self._check_right(topic)
        only = self._audience.narrowed(topic, only)
        if run is not None and (
            run.size_bytes + len(payload) > RUN_BYTES or run.trace is not trace
        ):
            self._close(run)
            run = None
        if run is None:
            run = self._begin(topic, trace)
        run.items.append(payload if only is None else Restricted(payload, only))
        run.size_bytes += len(payload)
        sequence = run.first + len(run.items) - 1
        if only is not None:
            self._close(run)
            self._send_restricted(topic, sequence, payload, only)
        elif len(run.items) >= MAX_RUN or run.size_bytes >= RUN_BYTES:
            self._close(run)
        return sequence

    def _check_right(self, topic: str) -> None:
        why = self._guard.refusal(self._own, Action.PUBLISH, topic)
        if why is not None:
            raise PermissionDenied(self._own.name, f"publish on {topic!r}", why)

    def _begin(self, topic: str, trace: bytes) -> Run:
        if len(self._open) >= _MAX_OPEN:
            self.flush()
        if not self.history.head(topic)[0]:
            check_topic(topic)
        run = self._open[topic] = self.history.open(topic, trace)
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_in_turn)
        return run

    def _flush_in_turn(self) -> None:
        self._is_flush_due = False
        self.pacing.sent = 0
        self.flush()

    def _close(self, run: Run) -> None:
        """Keep a run, send it, and hand it to our own subscriptions."""
        topic, first, items = run.topic, run.first, run.items
        del self._open[topic]
        self.on_publishing(topic, first)
        self.pacing.sent += len(items)
        epoch = self.history.close(run)
        sent = [None if type(one) is Restricted else one for one in items]
        payload = encode_run(sent)  # type: ignore[arg-type]  # mypy does not follow `type(one) is`
        fields = Envelope(_PUBLICATION, epoch, first, topic, 0, _NORMAL, run.trace, payload)
        try:
            self._transport.publish(topic, encode_envelope(fields))
        except P2PError:
            self._counts["publications_unsent"] += len(items)
        self.archive.published(topic)
        self._hear(topic, epoch, first, items)

    def _send_restricted(self, topic: str, sequence: int, payload: bytes, only: Only) -> None:
        epoch = self.history.head(topic)[0]
        for peer_id in self._transport.subscribers(topic):
            principal = self._principal_of(peer_id)
            if principal is None or not may_read(only, principal, self._counts):
                continue
            previous = self.history.restricted(topic, principal, below=sequence)
            told = encode_alone(Alone(topic, epoch, sequence, previous, payload))
            try:
                self._exchange.notify(peer_id, RESTRICTED, told)
            except P2PError:
                self._counts["restricted_unsent"] += 1
