"""Roots that members show: a newer one is remembered, and who was let in under an older one ends.

What this module does not know: introductions, how a root follows another (`keys` does).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from keys import CertificateRefused, KeystoreError, RootsSeen
from p2p.admission import Session, SessionTable

log = logging.getLogger("conclave.p2p.roots_shown")


def learn_roots(seen: RootsSeen | None, session: Session, sessions: SessionTable) -> bool:
    """Remember a newer root that a member's chain has shown, before anybody relies on it."""
    if seen is None:
        return False
    end_old_roots(sessions, seen, (session,))  # it may have been learned while we talked
    if not session.principal.roots:
        return False
    try:
        is_news = seen.learn(session.principal.roots)
    except (KeystoreError, CertificateRefused) as error:
        # A conflict here is of two that came at once; the next look at its papers refuses one.
        log.error("%s; this root is not remembered", error)
        return False
    if is_news:
        log.warning("the network has a new root, number %d", seen.number)
        end_old_roots(sessions, seen, sessions)
    return is_news


def end_old_roots(table: SessionTable, seen: RootsSeen, sessions: Iterable[Session]) -> None:
    """Who was let in with a chain of an older root stays for as long as that one counts."""
    for session in sessions:
        end_ms = seen.ends_ms(max(1, len(session.principal.roots)))
        if end_ms is not None:
            table.end_by(session.peer_id, end_ms)
