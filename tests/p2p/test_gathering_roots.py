"""A root that is learned while somebody introduces itself under an older one."""

from __future__ import annotations

from dataclasses import replace

from peer_lab import WALL_MS, Lab, in_lab

from p2p.admission import Session


class Seen:
    """Of one rotation, whose old root still counts for a minute."""

    def ends_ms(self, length: int) -> int | None:
        return WALL_MS + 60_000 if length < 2 else None


def test_a_session_under_an_older_root_ends_with_it_though_its_papers_were_checked_before() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        checked = a.session_of(b.peer_id)
        assert checked is not None
        assert checked.principal.not_after_ms > WALL_MS + 60_000
        gathering = a.gathering
        trust = gathering._credentials.trust
        gathering._credentials.trust = replace(trust, seen=Seen())  # type: ignore[arg-type]
        gathering._take(Session(checked.principal, checked.record, checked.hosts))
        session = a.session_of(b.peer_id)
        assert session is not None
        assert session.principal.not_after_ms == WALL_MS + 60_000
        gathering._credentials.trust = trust

    in_lab(scenario)
