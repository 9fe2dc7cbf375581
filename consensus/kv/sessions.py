"""Sessions: what clients were already told, so that a retry is answered and not run again (R17).

A session is named by its client and by the log index of its registration, so that a late copy of a
request of an earlier session never runs in a later one. Requests are numbered from 1. With `acked`
for the highest number up to which the client acknowledged, the request `sequence` is

    <= acked                  SEQUENCE_OLD: the client said that it needs no answer
    remembered                answered as the first time
    > acked + WINDOW          WINDOW_FULL: not run, not remembered
    else                      run, and its reply remembered until it is acknowledged

in whatever order requests arrive. Batches count by their operations, too: past MAX_REMEMBERED
results only the request `acked + 1` runs, which is the one that lets the client acknowledge.

Every request of a live session, repeats too, counts as a use: it moves the deadline and makes the
session the latest used. When there are too many, the one whose last use is the longest ago, by log
index, is forgotten.

Invariants: sessions are in the order of their last use, no two of one index; replies lie within the
window; a session's locks name it.
What this module does not know: ledger time as it runs, what requests do, locks beyond their names.
"""

from __future__ import annotations

from collections import OrderedDict

from consensus.kv.model import (
    MAX_REMEMBERED,
    WINDOW,
    ClientId,
    Refusal,
    Reply,
    SessionRef,
    SessionView,
)


class Session:
    """A client's session."""

    __slots__ = (
        "acknowledged",
        "client",
        "deadline_ms",
        "last_used_index",
        "locks",
        "number",
        "remembered",
        "replies",
        "ttl_ms",
    )

    def __init__(self, client: ClientId, number: int, ttl_ms: int) -> None:
        self.client = client
        self.number = number
        self.ttl_ms = ttl_ms
        self.deadline_ms = 0
        self.last_used_index = 0
        self.acknowledged = 0
        self.replies: dict[int, Reply] = {}  # by sequence
        self.remembered = 0  # results in them
        self.locks: dict[str, None] = {}  # names of those tied to it

    def remember(self, sequence: int, reply: Reply) -> None:
        self.replies[sequence] = reply
        self.remembered += len(reply.results)

    def acknowledge(self, upto: int) -> None:
        """The client needs no answer up to here."""
        past = self.acknowledged
        for sequence in range(past + 1, min(upto, past + WINDOW) + 1):
            reply = self.replies.pop(sequence, None)
            if reply is not None:
                self.remembered -= len(reply.results)
        self.acknowledged = upto

    def view(self) -> SessionView:
        return SessionView(
            self.client,
            self.number,
            self.ttl_ms,
            self.deadline_ms,
            self.last_used_index,
            self.acknowledged,
            len(self.replies),
        )


class SessionTable:
    """All sessions by client, the longest unused first."""

    def __init__(self) -> None:
        self.by_client: OrderedDict[ClientId, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self.by_client)

    def get(self, client: str, number: int) -> Session | None:
        session = self.by_client.get(ClientId(client))
        return session if session is not None and session.number == number else None

    def oldest(self) -> Session:
        return next(iter(self.by_client.values()))

    def add(self, session: Session) -> None:
        """A new session, before its first use."""
        assert session.client not in self.by_client
        self.by_client[session.client] = session

    def remove(self, session: Session) -> None:
        del self.by_client[session.client]

    def use(self, session: Session, index: int, time_ms: int) -> None:
        session.last_used_index = index
        session.deadline_ms = time_ms + session.ttl_ms
        self.by_client.move_to_end(session.client)

    def admit(self, ref: SessionRef, ops: int, index: int, time_ms: int) -> Session | Reply:
        """The session in which a request of `ops` operations is to run, or its reply."""
        session = self.get(ref.client, ref.number)
        if session is None:
            return Reply(index, Refusal.SESSION_GONE)
        if ref.sequence <= ref.acknowledged:
            return Reply(index, Refusal.SEQUENCE_INVALID)
        self.use(session, index, time_ms)
        if ref.acknowledged > session.acknowledged:
            session.acknowledge(ref.acknowledged)
        ahead = ref.sequence - session.acknowledged
        if ahead <= 0:
            return Reply(index, Refusal.SEQUENCE_OLD)
        reply = session.replies.get(ref.sequence)
        if reply is not None:
            return reply
        if ahead > WINDOW or (ahead > 1 and session.remembered + ops > MAX_REMEMBERED):
            return Reply(index, Refusal.WINDOW_FULL)
        return session
