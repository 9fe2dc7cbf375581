"""The autopilot: keeps the wanted number of fit voters, by proposing one change at a time.

It runs on every peer and acts on the leader only. `step` is given a view of now, about once a
second, and returns a change for the log or nothing. Whether the change happens is the log's
business: the next views show it. Failure detection alone changes nothing here; it is one reason
among others to propose a change that a quorum then decides.

    FOLLOWING   --it leads-->           UNCONFIRMED --own entry committed--> CONTENT
    CONTENT     --something is due-->   SETTLING    --the same for settle_ms--> PROPOSED
    PROPOSED    --the view shows it-->  CHANGING    --in force--> CONTENT
    PROPOSED    --nothing came of it--> PROPOSED again, after settle_ms

Invariants: nothing is proposed while a change is under way, before the leader's own entry is
committed, or for a wish that is younger than `settle_ms`; whatever is proposed is safe (`wishes`).
What this module does not know: the log, the network, how views are made.
"""

from __future__ import annotations

from agents.autopilot.situation import Observations, Situation
from agents.autopilot.view import CAUGHT_UP_ENTRIES, AutopilotSettings, Change, View
from agents.autopilot.wishes import Phase, Waiting, wish_of
from keys import PeerId


class Autopilot:
    """One peer's. Holds only what it saw while it led; a new leader begins afresh."""

    def __init__(self, settings: AutopilotSettings | None = None) -> None:
        self.settings = settings or AutopilotSettings()
        self._seen = Observations()
        self._wish: Change | None = None
        self._wish_since_ms = 0
        self._waiting = Waiting(Phase.FOLLOWING)
        self._summary = ""

    @property
    def phase(self) -> Phase:
        """HAND_OVER is the one that asks for something: `handover_target` says to whom."""
        return self._waiting.phase

    @property
    def wish(self) -> Change | None:
        """What is about to be proposed, or was and has not been seen yet."""
        return self._wish

    def step(self, view: View, now_ms: int) -> Change | None:
        """What to propose now, if anything; `now_ms` never falls."""
        if view.leader != view.me:
            self._seen.clear()
            self._summary = ""
            self._wait(Waiting(Phase.FOLLOWING))
            return None
        self._seen.look(view, self.settings, now_ms)
        situation = Situation(view, self.settings, self._seen, now_ms)
        self._summary = _summary_of(situation)
        outcome = _hindrance_of(view) or wish_of(situation, _peers_of(self._wish))
        if isinstance(outcome, Waiting):
            self._wait(outcome)
            return None
        return self._consider(outcome, now_ms)

    def explain(self) -> str:
        """One line for a status: how the voters are, and what happens next and why."""
        words = self._waiting.phase.value
        if self._waiting.about:
            words += f": {', '.join(self._waiting.about)}"
        if self._wish is not None:
            words += f": {self._wish}"
        return f"{self._summary}; {words}" if self._summary else words

    def _consider(self, wish: Change, now_ms: int) -> Change | None:
        if wish != self._wish:
            self._wish_since_ms = now_ms
            self._waiting = Waiting(Phase.SETTLING)
        self._wish = wish
        if now_ms - self._wish_since_ms < self.settings.settle_ms:
            return None
        self._wish_since_ms = now_ms  # it is said again if nothing comes of it
        self._waiting = Waiting(Phase.PROPOSED)
        return wish

    def _wait(self, waiting: Waiting) -> None:
        self._wish = None
        self._waiting = waiting


def handover_target(view: View, max_lag: int = CAUGHT_UP_ENTRIES) -> PeerId | None:
    """Who should lead instead: the best live voter whose log lacks at most `max_lag` entries."""
    fit = [
        member
        for member in view.members
        if member.peer in view.voters
        and member.peer != view.leader
        and member.is_alive
        and member.may_vote
        and not member.has_left
        and member.match_index is not None
        and view.last_index - member.match_index <= max_lag
    ]
    best = min(fit, key=lambda m: (-m.score, -(m.match_index or 0), m.peer), default=None)
    return None if best is None else best.peer


def _hindrance_of(view: View) -> Waiting | None:
    """What forbids any change now, as the log would too."""
    if not view.has_committed_own:
        return Waiting(Phase.UNCONFIRMED)
    if view.is_changing or view.outgoing:
        return Waiting(Phase.CHANGING)
    return None


def _peers_of(wish: Change | None) -> tuple[PeerId, ...]:
    return () if wish is None else (*wish.entering, *wish.leaving)


def _summary_of(s: Situation) -> str:
    voters = s.view.voters
    margin = s.margin(voters)
    can = f"{margin} more may die" if margin > 0 else "none may die" if margin == 0 else "no quorum"
    return f"{s.live(voters)} of {len(voters)} voters alive, {s.wanted} wanted, {can}"
