"""What one member holds of the others: what was said, and its own verdicts and deadlines.

What this module does not know: messages, signatures, links.
"""

from __future__ import annotations

from collections.abc import Callable

from keys import PeerId
from p2p.membership.member import MemberState
from p2p.membership.swim.events import Changed, Why, why_of
from p2p.membership.swim.health import Health
from p2p.membership.swim.rings import Rings
from p2p.membership.swim.statements import Statement, start_of
from p2p.membership.swim.table import Merged, Table
from p2p.membership.swim_settings import SwimSettings

PRESENT = (MemberState.ALIVE, MemberState.SUSPECT)


class Picture:
    """See the module. `own` is on the rings, and in the table once it has said its first word."""

    def __init__(self, own: PeerId, settings: SwimSettings) -> None:
        self.own = own
        self._settings = settings
        self.table = Table()
        self.rings = Rings(own, settings.rings, settings.mesh)
        self.suspects: dict[PeerId, int] = {}  # since when, for us
        self.gone: dict[PeerId, int] = {}  # dead or left, since when
        self.forgotten: dict[PeerId, int] = {}  # the last numbers of those
        self.judge_at_ms: int | None = None  # no suspicion ends before
        self._touched: dict[PeerId, tuple[MemberState | None, int]] = {}  # what they were
        self.is_dirty = True  # the rings may give other neighbours now

    def clone(self, own: PeerId) -> Picture:
        """The same for another member; nobody may be suspected in it."""
        assert not self.suspects
        assert not self.gone
        twin = Picture(own, self._settings)
        twin.table = self.table.clone()
        twin.rings.adopt(self.rings)
        return twin

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        record = self.table.get(peer_id)
        if record is None:
            return None
        if record.has_left:
            return MemberState.LEFT
        if peer_id in self.gone:
            return MemberState.DEAD
        return MemberState.SUSPECT if record.accusations else MemberState.ALIVE

    def present(self) -> tuple[PeerId, ...]:
        return self.rings.others()

    def dead(self) -> list[PeerId]:
        return [peer for peer in self.gone if self.state_of(peer) is MemberState.DEAD]

    def word(self) -> Statement:
        """Our own."""
        record = self.table.get(self.own)
        assert record is not None
        return record.word

    def touch(self, peer_id: PeerId) -> MemberState | None:
        """Note what it was before; returns what it is."""
        state, record = self.state_of(peer_id), self.table.get(peer_id)
        number = record.incarnation if record is not None else 0
        self._touched.setdefault(peer_id, (state, number))
        return state

    def changes(self) -> list[Changed]:
        """What is another state now than when it was touched."""
        changes: list[Changed] = []
        for peer_id, (before, old) in self._touched.items():
            record, after = self.table.get(peer_id), self.state_of(peer_id)
            if record is None or after is None:
                if before in PRESENT:
                    changes.append(Changed(peer_id, old, before, MemberState.DEAD, Why.EXPELLED))
                continue
            if before in PRESENT and start_of(old) != start_of(record.incarnation):
                changes.append(Changed(peer_id, old, before, MemberState.DEAD, Why.RESTARTED))
                before = MemberState.DEAD
            if after is before:
                continue
            if before is None and after is MemberState.LEFT:
                continue  # hearsay of one that we never met
            accusers = tuple(each.signer for each in record.accusations)
            why, number = why_of(before, after), record.incarnation
            changes.append(Changed(peer_id, number, before, after, why, accusers))
        self._touched.clear()
        return changes

    def merge(self, statement: Statement, now_ms: int, health: Health) -> Merged:
        """Take in what is verified, and put its subject where it belongs now."""
        subject = statement.subject
        if subject not in self.table:
            health.came(now_ms)
        merged = self.table.merge(statement)
        record = self.table.get(subject)
        if record is None or subject == self.own:
            return merged
        if record.has_left:
            self.suspects.pop(subject, None)
            self.gone.setdefault(subject, now_ms)
            self.rings.remove(subject)
        elif not record.accusations:
            self.suspects.pop(subject, None)
            self.gone.pop(subject, None)
            self.rings.add(subject)
        elif subject not in self.gone:
            self.rings.add(subject)
            self.suspects.setdefault(subject, now_ms)
            self.judge_by(self.verdict_at_ms(subject, health))
        self.is_dirty = True
        return merged

    def expel(self, peer_id: PeerId) -> None:
        """As if it had never been heard of."""
        if peer_id not in self.table:
            return
        self.touch(peer_id)
        self.table.forget(peer_id)
        self.suspects.pop(peer_id, None)
        self.gone.pop(peer_id, None)
        self.rings.remove(peer_id)
        self.is_dirty = True

    def verdict_at_ms(self, peer_id: PeerId, health: Health) -> int:
        """S3: counted from the state itself; a refuted suspicion leaves no timer behind."""
        record = self.table.get(peer_id)
        assert record is not None
        members = len(self.rings)
        witnesses = members - len(self.suspects)
        wait_ms = self._settings.suspicion_of(len(record.accusations), members, witnesses)
        return self.suspects[peer_id] + health.patient(wait_ms)

    def judge_by(self, due_ms: int) -> None:
        if self.judge_at_ms is None or due_ms < self.judge_at_ms:
            self.judge_at_ms = due_ms

    def judge(
        self, now_ms: int, health: Health, is_heard: Callable[[PeerId], bool]
    ) -> list[PeerId]:
        """Everybody's own conclusion, from accusations that were not answered in time.

        Our own ears count for more than accusations, for as long again as the subject had; those
        that we hear are returned, to be told.
        """
        self.judge_at_ms = None
        heard: list[PeerId] = []
        for peer_id, since_ms in list(self.suspects.items()):
            due_ms = self.verdict_at_ms(peer_id, health)
            if due_ms > now_ms:
                self.judge_by(due_ms)
            elif now_ms - due_ms <= due_ms - since_ms and is_heard(peer_id):
                self.judge_by(now_ms + self._settings.probe_ms)
                heard.append(peer_id)
            else:
                self.touch(peer_id)
                self._die(peer_id, now_ms)
        return heard

    def knock_pace_ms(self) -> int:
        """The fewer the dead for each of us, the seldomer each of us knocks."""
        share = len(self.rings) // max(1, len(self.gone))
        return min(self._settings.knock_most_ms, self._settings.knock_ms * max(1, share))

    def _die(self, peer_id: PeerId, now_ms: int) -> None:
        del self.suspects[peer_id]
        self.gone[peer_id] = now_ms
        self.rings.remove(peer_id)
        self.is_dirty = True

    def forgive(self, lag_ms: int, now_ms: int) -> None:
        """That time was ours: nobody could have answered us in it."""
        self.suspects = {p: min(now_ms, since + lag_ms) for p, since in self.suspects.items()}

    def forget_old(self, now_ms: int) -> None:
        for peer_id, since_ms in list(self.gone.items()):
            record = self.table.get(peer_id)
            assert record is not None
            if now_ms - since_ms > self._settings.forget_ms:
                self.forgotten[peer_id] = record.incarnation
                self.table.forget(peer_id)
                del self.gone[peer_id]

    def check_invariants(self) -> None:
        self.table.check_invariants()
        assert not set(self.suspects) & set(self.gone)
        for peer_id in self.suspects:
            assert self.state_of(peer_id) is MemberState.SUSPECT
            assert self.judge_at_ms is not None, "nobody will judge"
        for peer_id in self.table:
            is_here = self.state_of(peer_id) in (MemberState.ALIVE, MemberState.SUSPECT)
            assert is_here == (peer_id in self.rings) or peer_id == self.own
