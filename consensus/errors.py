"""What can go wrong in consensus, split by whose fault it is.

    ConsensusError
    |- ConfigInvalid            you: a configuration that cannot work
    |- MembershipInvalid        you: voters and learners that cannot be
    |- ProposalError            your proposal; `definite` says whether it certainly did not happen
    |  |- NotLeader             definite: ask the node in `leader_hint`
    |  |- ProposalsFull         definite: too much waits for the quorum; slow down
    |  |- ProposalTooLarge      definite: the command can never fit a message
    |  |- Stopped               definite: this node was already closed
    |  |- ChangeRefused         definite: this change of the members is not possible now
    |  '- OutcomeUnknown        INDEFINITE: it may have been committed, or may yet be
    |- TransferFailed           leadership stayed (or nobody could take it)
    |- AppliedTimeout           the wanted index was not applied in time
    |- MessageRefused           the other side: bytes that are no message for us
    |- MachineFailed            the state machine raised or answered nonsense; the node stops
    |- StateDiverged            this replica's state is not the leader's; the node stops
    |- SnapshotInvalid          bytes that are no snapshot of a state machine
    |- NodeHalted               the protocol found proof that a promise was broken; the node stops
    '- StorageError             the world: the disk
       |- StorageFull           no space; nothing was acknowledged, it is tried again
       |- StorageBroken         I/O error; the node stops, a failed fsync is never retried
       |- ForeignStorage        the file is not one of ours
       |- NewerFormat           a newer program wrote it
       |- WrongCluster          it belongs to another cluster
       |- WrongNode             it belongs to another node
       |- SnapshotCorrupted     a snapshot fails its checksum and the log does not reach back
       |- HardStateCorrupted    the record of (term, vote) fails its checksum
       |- LogCorrupted          a bad record with more behind it
       '- TornTail              the last record is bad and nothing lies behind it

It knows no exception of other packages. Every class writes its own message from data.
"""

from __future__ import annotations

from enum import Enum


class ConsensusError(Exception):
    """Root of everything that this package raises on purpose."""


class ConfigInvalid(ConsensusError):
    """A configuration that cannot work, named by field."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        super().__init__(f"consensus configuration: {field}: {why}")


class MembershipInvalid(ConsensusError):
    """Voters and learners that cannot be."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"this membership is not possible: {why}")


class ProposalError(ConsensusError):
    """A proposal without a result. `definite`: it certainly never happened and never will."""

    definite: bool = True


class NotLeader(ProposalError):
    """This node does not lead, or lost the lead before the entry was committed (and proved so)."""

    definite = True

    def __init__(self, node_id: str, leader_hint: str | None) -> None:
        self.node_id = node_id
        self.leader_hint = leader_hint
        where = f"ask {leader_hint}" if leader_hint else "no leader is known yet, try again shortly"
        super().__init__(f"{node_id} does not lead: {where}")


class ProposalsFull(ProposalError):
    """More proposals wait for the quorum than the configured bounds allow."""

    definite = True

    def __init__(self, node_id: str, waiting: int, waiting_bytes: int) -> None:
        self.node_id = node_id
        self.waiting = waiting
        self.waiting_bytes = waiting_bytes
        super().__init__(
            f"{node_id} holds {waiting} proposals ({waiting_bytes} bytes) that the quorum has not"
            " confirmed: slow down and try again"
        )


class ProposalTooLarge(ProposalError):
    """One command exceeds what a message may carry."""

    definite = True

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"a command of {size_bytes} bytes exceeds the limit of {limit_bytes}: store the bulk"
            " elsewhere and propose a reference to it"
        )


class Stopped(ProposalError):
    """The runner was closed before this was handed to the protocol."""

    definite = True

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        super().__init__(f"the consensus runner of {node_id} is stopped: ask another node")


class ChangeRefused(ProposalError):
    """The members cannot be changed like this, or not now."""

    definite = True

    def __init__(self, node_id: str, why: str) -> None:
        self.node_id = node_id
        self.why = why
        super().__init__(f"{node_id} does not change the members: {why}")


class OutcomeUnknown(ProposalError):
    """The entry was replicated by a leader that lost its quorum: it may be committed or not."""

    definite = False

    def __init__(self, node_id: str, index: int, term: int) -> None:
        self.node_id = node_id
        self.index = index
        self.term = term
        super().__init__(
            f"{node_id} lost the lead with entry {index} of term {term} in flight: it may have"
            " happened; read the state before you repeat it"
        )


class TransferFailed(ConsensusError):
    """Leadership could not be handed over in time."""

    def __init__(self, node_id: str, target: str | None, why: str) -> None:
        self.node_id = node_id
        self.target = target
        super().__init__(f"{node_id} could not hand leadership to {target or 'anyone'}: {why}")


class AppliedTimeout(ConsensusError):
    """The wanted index was not applied here within the time given."""

    def __init__(self, node_id: str, index: int, applied: int) -> None:
        self.node_id = node_id
        self.index = index
        self.applied = applied
        super().__init__(
            f"{node_id} has applied entries up to {applied}, not yet {index}: it lags or is cut off"
        )


class MessageFault(Enum):
    """Why bytes are no message for us."""

    TRUNCATED = "truncated"
    CHECKSUM = "checksum"
    VERSION = "unknown version"
    CLUSTER = "other cluster"
    SENDER = "sender differs from the authenticated peer"
    RECIPIENT = "meant for another node"
    KIND = "unknown kind"
    TRAILING = "bytes after the end"
    ENTRIES = "entries are malformed"
    RANGE = "a number is out of range"


class MessageRefused(ConsensusError):
    """Bytes that are no message for this node; the driver counts them and goes on."""

    def __init__(self, fault: MessageFault) -> None:
        self.fault = fault
        super().__init__(f"a consensus message was refused: {fault.value}")


class MachineFailed(ConsensusError):
    """The state machine raised: replicas could differ from here on, so the node stops."""

    def __init__(self, node_id: str, first_index: int, last_index: int, why: str) -> None:
        self.node_id = node_id
        self.first_index = first_index
        self.last_index = last_index
        super().__init__(
            f"{node_id}: the state machine failed on entries {first_index} to {last_index}: {why};"
            " apply must be total, so mend it and restart the node"
        )


class StateDiverged(ConsensusError):
    """Replicas that applied the same entries hold different states."""

    def __init__(self, node_id: str, index: int, own: str, expected: str) -> None:
        self.node_id = node_id
        self.index = index
        super().__init__(
            f"{node_id}: at entry {index} the state hashes to {own}, the leader's to {expected}:"
            " one of the two machines is not deterministic; let this node rejoin under a new"
            " identity, and compare the programs' versions"
        )


class SnapshotInvalid(ConsensusError):
    """Bytes that are no snapshot of a state machine."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"this is no snapshot: {why}")


class NodeHalted(ConsensusError):
    """The node stopped itself because going on could break a promise."""

    def __init__(self, node_id: str, reason: str) -> None:
        self.node_id = node_id
        self.reason = reason
        super().__init__(f"{node_id} stopped itself: {reason}")


class StorageError(ConsensusError):
    """The disk failed us, or what lies on it is not what we need."""


class StorageFull(StorageError):
    """No space. The transaction was rolled back, so the same one may be tried again."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path}: no space left; free some, the node goes on by itself then")


class StorageBroken(StorageError):
    """An I/O error. What the kernel dropped cannot be known, so nothing is retried."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{path}: {why}; check the disk before this node is started again")


class ForeignStorage(StorageError):
    """The file exists and is not one of ours."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is not a consensus log: {why}; if it ever was one it"
            " is damaged: let the node rejoin under a new identity"
        )


class NewerFormat(StorageError):
    """A newer program wrote this file."""

    def __init__(self, path: str, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(
            f"{path} has format {found}, this program knows up to {known}: upgrade this node"
        )


class WrongCluster(StorageError):
    """The file belongs to another cluster."""

    def __init__(self, path: str, found: str, expected: str) -> None:
        self.path = path
        self.found = found
        self.expected = expected
        super().__init__(f"{path} belongs to cluster {found}, not to {expected}: use its own path")


class WrongNode(StorageError):
    """The file belongs to another node of the cluster."""

    def __init__(self, path: str, found: str, expected: str) -> None:
        self.path = path
        self.found = found
        self.expected = expected
        super().__init__(
            f"{path} belongs to node {found}, not to {expected}: a log is never copied to another"
            " node, its votes would be cast twice"
        )


class HardStateCorrupted(StorageError):
    """(term, vote) cannot be trusted: this node could vote twice."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: the record of term and vote is damaged ({why}): let the node rejoin under a"
            " new identity"
        )


class SnapshotCorrupted(StorageError):
    """A snapshot is damaged and nothing else holds what it held."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: the snapshot is damaged ({why}) and the log does not reach back before it:"
            " let the node rejoin under a new identity"
        )


class LogCorrupted(StorageError):
    """A record in the middle of the log is damaged."""

    def __init__(self, path: str, index: int, why: str) -> None:
        self.path = path
        self.index = index
        super().__init__(
            f"{path}: log damaged at entry {index} with more behind it ({why}): nothing is cut;"
            " let the node rejoin under a new identity"
        )


class TornTail(StorageError):
    """The last record is damaged. It may have been acknowledged, so it is not cut silently."""

    def __init__(self, path: str, index: int, why: str) -> None:
        self.path = path
        self.index = index
        super().__init__(
            f"{path}: the last record, from entry {index} on, is damaged ({why}): the disk lost a"
            " confirmed write; let the node rejoin under a new identity"
        )
