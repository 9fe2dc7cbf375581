"""Who could be in a cluster, out of what the leader sees: who is here, what is offered, papers.

    experience     tasks of the capability that were completed, as the scheduler remembers
    reliability    the share of them that did not fail
    availability   for how long it is here, and how often it was taken for dead
    resources      how busy it says that its agent or its machine is, and how much memory is free

A leader that has just begun, or has just come up, has not met everybody: whom it does not know yet
is silent to it for `GRACE_MS`, and not gone.

What this module does not know: who is in a cluster, how one is decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from agents.choosing import FULL
from agents.clusters.core import Candidate, Fit
from agents.health import Health
from agents.names import namespace_of
from agents.scoring import PeerFacts, score_of
from keys import Action, PeerId, Permission, Principal
from p2p import Machine, Member, MemberState, Peer

if TYPE_CHECKING:
    from agents.adverts import AgentCard
    from agents.directory import Directory
    from agents.quorum import Quorum
    from agents.steering import Steering

GRACE_MS: Final = 10_000
_GONE: Final = {MemberState.DEAD: "it has failed", MemberState.LEFT: "it has left"}
_NOT_MET: Final = "the leader has not met it yet"


class _Look(NamedTuple):
    """What is seen at one moment, for one cluster."""

    name: str
    capability: str
    now_ms: int
    is_new: bool
    here: Mapping[PeerId, Member]
    offering: Collection[PeerId]
    degraded: Collection[PeerId]


class Fitting:
    """Judges peers on the node that leads.

    Args:
        began_ms: when this node came up.
    """

    def __init__(
        self, peer: Peer, directory: Directory, steering: Steering, quorum: Quorum, began_ms: int
    ) -> None:
        self._peer = peer
        self._directory = directory
        self._steering = steering
        self._quorum = quorum
        self._began_ms = began_ms

    def candidates(
        self, name: str, capability: str, members: Iterable[PeerId], now_ms: int, *, is_new: bool
    ) -> dict[PeerId, Candidate]:
        """Return who offers it and who is in the roster, by id.

        Args:
            is_new: this node leads since a moment ago.
        """
        look = self._look(name, capability, now_ms, is_new=is_new)
        return {who: self._judge(who, look) for who in {*look.offering, *members}}

    def everybody(
        self, name: str, capability: str, members: Iterable[PeerId], now_ms: int, *, is_new: bool
    ) -> dict[PeerId, Candidate]:
        """Return all who are here or in the roster, for people: each one's reason is read anew."""
        look = self._look(name, capability, now_ms, is_new=is_new)
        who = {self._peer.peer_id, *look.here, *look.offering, *members}
        return {peer: self._judge(peer, look) for peer in who}

    def _look(self, name: str, capability: str, now_ms: int, *, is_new: bool) -> _Look:
        return _Look(
            name,
            capability,
            now_ms,
            is_new,
            {member.peer_id: member for member in self._peer.presence.members()},
            self._directory.offering(capability),
            self._directory.degraded(capability),
        )

    def _judge(self, who: PeerId, look: _Look) -> Candidate:
        fit, why = self._fit(who, look)
        member = look.here.get(who)
        up_ms = member.since_ms if member is not None else look.now_ms - self._began_ms
        score = self._score(who, member, look.capability, up_ms)
        return Candidate(who, self._peer.label(who), fit, why, score, up_ms)

    def _fit(self, who: PeerId, look: _Look) -> tuple[Fit, str]:
        is_own, member = who == self._peer.peer_id, look.here.get(who)
        if member is not None and member.state in _GONE:
            return Fit.UNFIT, _GONE[member.state]
        principal = self._peer.member(who)
        is_met = is_own or (member is not None and self._directory.start_of(who))
        if principal is None or not is_met:
            return (Fit.SILENT, _NOT_MET) if look.is_new else (Fit.UNFIT, "it is not here")
        why = self._not_allowed(principal, look.name, look.capability)
        if why:
            return Fit.UNFIT, why
        if who not in look.offering:
            return Fit.UNFIT, _why_not(self._directory.cards_of(who), look.capability)
        if member is not None and member.state is MemberState.SUSPECT:
            return Fit.SILENT, "it is silent"
        if who in look.degraded:
            return Fit.DEGRADED, _why_not(self._directory.cards_of(who), look.capability)
        return Fit.WELL, ""

    def _not_allowed(self, principal: Principal, name: str, capability: str) -> str:
        """What its papers or a policy have against it; empty for nothing."""
        namespace = namespace_of(capability)
        if not principal.permissions & Permission.SERVE:
            return "its roles do not let it serve"
        if namespace and not principal.may_in(Permission.SERVE, namespace):
            return f"its certificate does not have the namespace {namespace!r}"
        if self._peer.guard.may(principal, Action.LOCK, name):
            return ""
        return self._peer.guard.judge(principal, Action.LOCK, name).why

    def _score(self, who: PeerId, member: Member | None, capability: str, up_ms: int) -> int:
        leading = self._quorum.leading
        completed, failed = (0, 0)
        if leading is not None:
            completed, failed = leading.scheduler.ended(who, capability)
        machine = self._directory.machine_of(who) or Machine()
        load_permille = 1000 * self._directory.busy(capability).get(who, 0) // FULL
        facts = PeerFacts(
            uptime_ms=up_ms,
            flaps_last_hour=self._steering.flaps(who),
            tasks_completed=completed,
            tasks_failed=failed,
            cpu_load_permille=max(load_permille, machine.busy_permille),
            free_memory_permille=machine.free_permille,
        )
        return score_of(facts)


def _why_not(cards: tuple[AgentCard, ...], capability: str) -> str:
    """Why none of a peer's agents is well that offers it, in words."""
    why = f"it does not offer {capability}"
    for card in cards:
        state, reason = card.condition.state, card.condition.reason
        said = f"agent {card.name} is {state.value}" + (f": {reason}" if reason else "")
        if capability in card.skills:
            return said
        # One that runs nothing now offers nothing: perhaps it would, and this is why not.
        if not card.skills and state is not Health.HEALTHY:
            why = said
        elif not card.skills and card.note:
            why = f"agent {card.name} {card.note}"
    return why
