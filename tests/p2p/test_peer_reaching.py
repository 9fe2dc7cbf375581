"""Peers with few links: whoever is spoken to is introduced, wherever it is by then."""

from __future__ import annotations

import pytest
from peer_lab import Lab, in_lab, until

from keys import PeerId, Permission
from p2p import Papers, Peer, SwimSettings
from p2p.members import reaching
from p2p.rpc import Incoming

FEW = SwimSettings(mesh=2, rings=1, links=4)  # beyond five members, two neighbours each


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "IDLE_MS", 5_000)


async def echo(incoming: Incoming, payload: bytes) -> bytes:
    return payload


def links_of(peer: Peer) -> set[str]:
    return {session.peer_id for session in peer.gathering.sessions}


async def sparse(lab: Lab, count: int = 12) -> list[Peer]:
    """Peers with links to their neighbours, and hardly any other."""
    peers = [lab.peer(f"n{number}", settings=FEW) for number in range(count)]
    for peer in peers:
        await peer.__aenter__()
    await until(lambda: all(len(peer.presence.present()) >= count - 1 for peer in peers))
    await until(lambda: all(len(links_of(peer)) <= 5 for peer in peers), 600)
    return peers


def test_who_is_started_again_is_asked_there_though_there_was_a_link_to_its_earlier_start() -> None:
    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("again")
        lab.peer("again", papers=papers, settings=FEW).serve(
            "echo", echo, permission=Permission.CALL
        )
        await lab.peers["again"].__aenter__()
        peers = await sparse(lab)
        again = lab.peers["again"].peer_id
        far = next(p for p in peers if again not in links_of(p))
        assert await far.request(again, "echo", b"one", timeout_s=2.0) == b"one"
        lab.worlds["again"].crash()
        later = Papers(
            papers.identity, papers.chain, papers.trust, "again", papers.incarnation + (1 << 21)
        )
        restarted = lab.peer("again", papers=later, settings=FEW)
        restarted.serve("echo", echo, permission=Permission.CALL)
        await restarted.__aenter__()
        started = {m.peer_id: m.incarnation for m in far.presence.members()}[again]
        await until(
            lambda: {m.peer_id: m.incarnation for m in far.presence.members()}[again] > started
        )
        assert await far.request(again, "echo", b"two", timeout_s=2.0) == b"two"

    in_lab(scenario)


def test_a_word_to_everybody_reaches_all_though_few_are_dialled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reaching, "MAX_DIALS", 2)

    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        got: list[PeerId] = []
        for peer in peers:
            peer.serve_notice(
                "note",
                lambda _, data, own=peer.peer_id: got.append(own),  # type: ignore[misc]
                permission=Permission.CALL,
            )
        for peer in peers[1:]:
            peers[0].notify(peer.peer_id, "note", b"to all")
        await until(lambda: len(got) == 11, 5)
        assert set(got) == {peer.peer_id for peer in peers[1:]}

    in_lab(scenario)
