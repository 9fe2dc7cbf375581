"""The replicated register of decisions: what was put to a vote, what came of it, who cheated.

The log drives it: `apply` is a pure function of the state and of (index, ledger time, command),
total over all bytes. Nothing is believed because it is in the log: every replica verifies every
certificate and all evidence itself before it accepts them.

    opened     an id is free, or its last round expired and this is a later one
    closed     the certificate holds and is for exactly the text that was opened; the first one wins
    expired    the round is open and ledger time has reached its deadline (V7)
    blocked    the round is open, and ballots that hold leave no way to an approval: an early end,
               as final as an expiry, and as little a proof
    evidence   verified, of an elector of a known proposal; kept once a voter and proposal
    forgotten  exactly the oldest closed ones, so that replicas never choose

The outcome of a round is what the log has first: a certificate or the expiry. A second certificate
that holds and differs leaves the outcome alone; whoever signed both is kept as evidence (V8).

What this module does not know: Raft, the voters' configuration (an epoch later than the entry is
refused, and no more can be known here), how commands come about, local clocks.

Invariants: one decision an id; `open + closed <= max_decisions`; room for a certificate is reserved
when a proposal is opened, so closing never fails for space; ledger time never goes back; equal
states have equal snapshots.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from heapq import nlargest
from itertools import islice
from typing import Final

from consensus.ballots import register_commands as commands
from consensus.ballots.ballot import Ballot, Evidence, contradict
from consensus.ballots.blocking import Blocking
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.errors import BallotInvalid, CertificateInvalid, EvidenceInvalid, Malformed
from consensus.ballots.proposal import Proposal
from consensus.ballots.register_commands import Reply, ReplyCode
from consensus.ballots.register_snapshot import MAX_EVIDENCE, Decision, RegisterState, read, write
from consensus.ballots.scheme import Scheme
from consensus.ballots.tally import Status
from consensus.ballots.verify import conflict, verify
from consensus.ballots.wire import MAX_INTEGER

MAX_DECISIONS: Final = 10_000
MAX_BYTES: Final = 256 * 1024 * 1024


class Register:
    """One replica of the register.

    `max_decisions` and `max_bytes` are part of the state: all replicas must have the same ones.
    """

    def __init__(
        self,
        cluster_id: str,
        scheme: Scheme,
        *,
        max_decisions: int = MAX_DECISIONS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._cluster_id = cluster_id
        self._scheme = scheme
        self._max_decisions = max_decisions
        self._max_bytes = max_bytes
        self._adopt(RegisterState(0, {}, {}, {}))

    def _adopt(self, state: RegisterState) -> None:
        self._time_ms = state.time_ms
        self._open = state.open
        self._closed = state.closed  # in the order of closing
        self._evidence = state.evidence
        self._due = sorted((each.due_ms, key) for key, each in state.open.items())
        self._bytes = sum(d.cost for d in (*state.open.values(), *state.closed.values()))

    # -- driven by the log ---------------------------------------------------------------------

    def apply(self, index: int, time_ms: int, command: bytes) -> Reply:
        """One command at its place in the log; never raises on what it says."""
        index = min(max(index, 0), MAX_INTEGER)
        self._time_ms = min(max(self._time_ms, time_ms), MAX_INTEGER)
        try:
            decoded = commands.decode(command)
        except Malformed as error:
            return Reply(ReplyCode.MALFORMED, why=str(error))
        match decoded:
            case commands.OpenProposal():
                return self._on_opened(index, decoded.proposal)
            case commands.CloseProposal():
                return self._on_closed(index, decoded.certificate)
            case commands.ExpireProposal():
                return self._on_expired(index, decoded)
            case commands.BlockProposal():
                return self._on_blocked(index, decoded.blocking)
            case commands.KeepEvidence():
                return self._on_evidence(decoded.raw)
            case commands.ForgetProposals():
                return self._on_forgotten(decoded.proposal_ids)

    def _on_opened(self, index: int, proposal: Proposal) -> Reply:
        key = proposal.proposal_id
        if proposal.cluster_id != self._cluster_id:
            return Reply(ReplyCode.OTHER_CLUSTER, key)
        if proposal.epoch > index:
            return Reply(ReplyCode.FUTURE_EPOCH, key)
        known = self.get(key)
        if known is not None:
            if known.proposal.digest == proposal.digest:
                return Reply(ReplyCode.REPEATED, key)
            if known.status is not Status.EXPIRED or proposal.round <= known.proposal.round:
                return Reply(ReplyCode.KNOWN_ID, key)
        due_ms = min(self._time_ms + proposal.deadline_ms, MAX_INTEGER)
        decision = Decision(proposal, Status.OPEN, index, self._time_ms, due_ms)
        others = len(self._open) + len(self._closed) - (known is not None)
        freed = known.cost if known is not None else 0
        if others >= self._max_decisions or self._bytes - freed + decision.cost > self._max_bytes:
            return Reply(ReplyCode.FULL, key)
        if known is not None:
            del self._closed[key]
        self._open[key] = decision
        self._bytes += decision.cost - freed
        insort(self._due, (due_ms, key))
        return Reply(ReplyCode.DONE, key)

    def _on_closed(self, index: int, data: bytes) -> Reply:
        try:
            proposal = QuorumCertificate.from_bytes(data).proposal
        except CertificateInvalid as error:
            return Reply(ReplyCode.CERTIFICATE_INVALID, why=str(error))
        key = proposal.proposal_id
        known = self.get(key)
        if known is None:
            return Reply(ReplyCode.UNKNOWN, key)
        if known.certificate == data:
            return Reply(ReplyCode.REPEATED, key)
        if known.proposal.round != proposal.round:
            return Reply(ReplyCode.OTHER_ROUND, key)
        try:
            verified = verify(data, self._scheme, known.proposal.electors)
        except CertificateInvalid as error:
            return Reply(ReplyCode.CERTIFICATE_INVALID, key, str(error))
        if known.certificate is not None:
            return self._compare(key, known.certificate, data)
        if known.blocking is not None:
            return self._compare_blocked(key, known.blocking, data)
        if known.proposal.digest != proposal.digest:
            return Reply(ReplyCode.OTHER_TEXT, key)
        if known.status is not Status.OPEN:
            return Reply(ReplyCode.CLOSED, key)
        self._close(known, verified.outcome, index, data)
        return Reply(ReplyCode.DONE, key)

    def _compare(self, key: str, first: bytes, second: bytes) -> Reply:
        """Two certificates that hold for one round (V8)."""
        accusation = conflict(first, second, self._scheme)
        if accusation is None:
            return Reply(ReplyCode.CLOSED, key)
        for each in accusation.evidence:
            self._keep(key, each.voter, each.encode())
        accused = tuple(elector.peer_id for elector in accusation.guilty)
        return Reply(ReplyCode.CONFLICT, key, accused=accused)

    def _on_expired(self, index: int, command: commands.ExpireProposal) -> Reply:
        key = command.proposal_id
        known = self.get(key)
        if known is None:
            return Reply(ReplyCode.UNKNOWN, key)
        if known.proposal.round != command.round:
            return Reply(ReplyCode.OTHER_ROUND, key)
        if known.status is Status.EXPIRED:
            return Reply(ReplyCode.REPEATED, key)
        if known.status is not Status.OPEN:
            return Reply(ReplyCode.CLOSED, key)
        if self._time_ms < known.due_ms:
            return Reply(ReplyCode.NOT_DUE, key)
        self._close(known, Status.EXPIRED, index, None)
        return Reply(ReplyCode.DONE, key)

    def _on_blocked(self, index: int, data: bytes) -> Reply:
        try:
            blocking = Blocking.from_bytes(data)
        except Malformed as error:
            return Reply(ReplyCode.BLOCKING_INVALID, why=str(error))
        key = blocking.proposal_id
        known = self.get(key)
        if known is None:
            return Reply(ReplyCode.UNKNOWN, key)
        if known.blocking == data:
            return Reply(ReplyCode.REPEATED, key)
        if known.proposal.round != blocking.round:
            return Reply(ReplyCode.OTHER_ROUND, key)
        if known.status is not Status.OPEN:
            return Reply(ReplyCode.CLOSED, key)
        try:
            blocking.check(known.proposal, self._scheme)
        except (BallotInvalid, Malformed) as error:
            return Reply(ReplyCode.BLOCKING_INVALID, key, str(error))
        self._close(known, Status.BLOCKED, index, data)
        return Reply(ReplyCode.DONE, key)

    def _compare_blocked(self, key: str, blocking: bytes, certificate: bytes) -> Reply:
        """A certificate that holds, for what was blocked: whoever's ballots stand in both lied."""
        first: dict[bytes, list[Ballot]] = {}
        for ballot in Blocking.from_bytes(blocking).ballots:
            first.setdefault(ballot.voter, []).append(ballot)
        accused: dict[str, None] = {}
        for ballot in QuorumCertificate.from_bytes(certificate).ballots:
            for before in first.get(ballot.voter, ()):
                if contradict(before, ballot):
                    found = Evidence.of(before, ballot)
                    self._keep(key, found.voter, found.encode())
                    accused[self._scheme.peer_id_of(found.voter)] = None
        if not accused:
            return Reply(ReplyCode.CLOSED, key)
        return Reply(ReplyCode.CONFLICT, key, accused=tuple(accused))

    def _on_evidence(self, raw: bytes) -> Reply:
        try:
            found = Evidence.decode(raw)
        except (Malformed, EvidenceInvalid) as error:
            return Reply(ReplyCode.EVIDENCE_INVALID, why=str(error))
        key = found.proposal_id
        known = self.get(key)
        if known is None or found.first.cluster_id != self._cluster_id:
            return Reply(ReplyCode.UNKNOWN, key)
        if known.proposal.elector(found.voter) is None:
            return Reply(ReplyCode.FOREIGN_VOTER, key)
        if (key, found.voter) in self._evidence:
            return Reply(ReplyCode.REPEATED, key)
        try:
            found.check(self._scheme)
        except EvidenceInvalid as error:
            return Reply(ReplyCode.EVIDENCE_INVALID, key, str(error))
        kept = self._keep(key, found.voter, raw)
        return Reply(ReplyCode.DONE if kept else ReplyCode.FULL, key)

    def _on_forgotten(self, proposal_ids: tuple[str, ...]) -> Reply:
        if not proposal_ids or proposal_ids != self.oldest_closed(len(proposal_ids)):
            return Reply(ReplyCode.NOT_OLDEST)
        for key in proposal_ids:
            self._bytes -= self._closed.pop(key).cost
        gone = set(proposal_ids)
        self._evidence = {at: raw for at, raw in self._evidence.items() if at[0] not in gone}
        return Reply(ReplyCode.DONE)

    def _close(self, decision: Decision, status: Status, index: int, proof: bytes | None) -> None:
        key = decision.proposal.proposal_id
        closed = decision.closed(status, index, self._time_ms, proof)
        del self._open[key]
        del self._due[bisect_left(self._due, (decision.due_ms, key))]
        self._closed[key] = closed
        self._bytes += closed.cost - decision.cost

    def _keep(self, key: str, voter: bytes, raw: bytes) -> bool:
        if (key, voter) not in self._evidence and len(self._evidence) >= MAX_EVIDENCE:
            return False
        self._evidence.setdefault((key, voter), raw)
        return True

    # -- snapshots -----------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        """The state in chunks of at most a megabyte."""
        state = RegisterState(self._time_ms, self._open, self._closed, self._evidence)
        return write(state, self._cluster_id, (self._max_decisions, self._max_bytes))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by what `snapshot` gave, or leave it as it is.

        Signatures were verified when their commands were applied and are not verified again.

        Raises:
            SnapshotInvalid: these chunks are not one of ours.
        """
        self._adopt(read(chunks, self._cluster_id, (self._max_decisions, self._max_bytes)))

    # -- reads ---------------------------------------------------------------------------------

    def get(self, proposal_id: str) -> Decision | None:
        """How the latest round of this proposal stands."""
        return self._open.get(proposal_id) or self._closed.get(proposal_id)

    def open(self) -> tuple[Decision, ...]:
        """All that are open, oldest first."""
        return tuple(sorted(self._open.values(), key=lambda each: each.order))

    def list(self, limit: int) -> tuple[Decision, ...]:
        """Open and closed ones, the latest opened first."""
        every = (*self._open.values(), *self._closed.values())
        return tuple(nlargest(limit, every, key=lambda each: each.order))

    def due(self, time_ms: int, limit: int) -> tuple[Decision, ...]:
        """Open ones whose time is over at this ledger time, the longest overdue first."""
        found = islice(self._due, limit)
        return tuple(self._open[key] for due_ms, key in found if due_ms <= time_ms)

    def evidence(self, proposal_id: str) -> tuple[Evidence, ...]:
        """Who voted twice on it, in the order of their keys."""
        held = sorted((at, raw) for at, raw in self._evidence.items() if at[0] == proposal_id)
        return tuple(Evidence.decode(raw) for _, raw in held)

    def oldest_closed(self, limit: int) -> tuple[str, ...]:
        """What a `forgotten` command may name."""
        return tuple(islice(self._closed, limit))

    @property
    def time_ms(self) -> int:
        """Ledger time, as far as commands have brought it."""
        return self._time_ms

    def check_invariants(self) -> None:
        """For tests, after every step."""
        assert not self._open.keys() & self._closed.keys()
        assert len(self._open) + len(self._closed) <= self._max_decisions
        every = (*self._open.values(), *self._closed.values())
        assert self._bytes == sum(each.cost for each in every) <= self._max_bytes
        assert self._due == sorted((d.due_ms, key) for key, d in self._open.items())
        assert all(each.status is Status.OPEN for each in self._open.values())
        assert all(each.status is not Status.OPEN for each in self._closed.values())
        assert all(key in self._open or key in self._closed for key, _ in self._evidence)
