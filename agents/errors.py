"""Errors of the agent layer.

    AgentsError
    |-- MisuseError               you called us wrongly
    |   |-- BadAgent              the program's agent cannot be loaded or declared so
    |   |-- BadSettings           an option, an environment variable or a key of conclave.toml
    |   |-- NodeAlreadyUp         this data directory has a running node
    |   |-- InvalidArguments      definite: the arguments do not fit the handler
    |   |-- KeyInvalid            definite: no key or lock can be called that
    |   `-- ValueTooLarge         definite: the store takes no value of that size
    |-- NetworkError              the network cannot do it now
    |   |-- AgentClosed             definite: the agent has failed or stands by; another may do it
    |   |-- ApprovalRefused         definite: work was not begun, for nobody approved it
    |   |   `-- ApproverUnknown     definite: who approved it is not known here; another may know
    |   |-- AgentHopeless           definite: restarting it in place does not help
    |   |-- NodeNotUp             definite: no node runs here
    |   |-- NoProvider            definite: nobody offers the capability
    |   |-- NoOtherPeer           definite: this node is alone
    |   |-- NoSealingKey          definite: it is not known how to seal for a peer
    |   |-- CircuitOpen           definite: those who offer it failed lately, and are left alone
    |   |-- ChannelClosed         indefinite: one side has ended it
    |   |-- NotRevoked            definite: nobody is meant, or no issuer did it
    |   |-- NotFollowed           definite: nobody follows another log for it
    |   |-- NotRenewed            definite: no issuer has renewed our certificate
    |   |-- NoQuorum              definite: not enough voters reach each other
    |   |-- TooFewMembers         definite: no cluster of that size can be formed
    |   `-- OutcomeUnknown        indefinite: it may have been decided
    |-- StoreError                the store has decided otherwise
    |   |-- CompareFailed         definite: the key is not what it was expected to be
    |   |-- StoreFull             definite: there is no room
    |   |-- LockHeld              definite: another one holds it
    |   `-- LockLost              the lock is no longer ours: stop the work
    |-- PolicyRefused             definite: the network's policy is as it was
    |-- DecisionError             a question was not put to a vote, or a vote not taken
    |   |-- QuestionRefused       definite: it cannot be put to a vote
    |   |-- VoteRefused           definite: this node's ballot was not cast
    |   `-- DecisionUnknown       definite: there is no such decision
    |-- GiveUp                    raised by handlers: this task fails, and no retry will help
    `-- TaskError                 the task ended without a result
        |-- TaskFailed            definite: its handler raised
        |-- TaskParked            definite: it used up its attempts
        |-- TaskCancelled         definite
        |-- TaskUnknown           definite: the ledger has no such task
        `-- TaskTimeout           indefinite: still under way when the wait ended

Errors of calls to other agents are those of `p2p`: `HandlerFailed`, `DeadlineExceeded` and so on.
"""

from __future__ import annotations

from collections.abc import Sequence


class AgentsError(Exception):
    """Root of this package's errors."""

    definite: bool = True


class MisuseError(AgentsError):
    """The caller did something that can never work."""


class BadAgent(MisuseError):
    """A module, file or object that should be an agent is not."""


class BadSettings(MisuseError):
    """A setting that does not exist or has no such value; the text names it."""


class NodeAlreadyUp(MisuseError):
    def __init__(self, home: str, pid: int | None) -> None:
        who = f" (pid {pid})" if pid else ""
        super().__init__(
            f"a node is already up in {home}{who}; stop it, or give this one another --home"
        )
        self.home = home
        self.pid = pid


class InvalidArguments(MisuseError):
    def __init__(self, capability: str, detail: str) -> None:
        super().__init__(f"{capability}: {detail}")
        self.capability = capability
        self.detail = detail


class KeyInvalid(MisuseError):
    def __init__(self, key: str, why: str) -> None:
        shown = key if len(key) <= 64 else key[:64] + "..."
        super().__init__(f"key {shown!r}: {why}")
        self.key = key
        self.why = why


class ValueTooLarge(MisuseError):
    def __init__(self, key: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"key {key!r}: a value of {size_bytes:,} bytes is over the limit of {limit_bytes:,}; "
            "keep it elsewhere, and a reference to it here"
        )
        self.key = key
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class NetworkError(AgentsError):
    """The network as it is now cannot do this."""


class AgentClosed(NetworkError):
    """The agent runs nothing now; nothing was begun."""

    def __init__(self, agent: str, why: str) -> None:
        super().__init__(f"agent {agent} runs nothing now: {why}")
        self.agent = agent
        self.why = why


class ApprovalRefused(NetworkError):
    """A worker has looked at the vote on its work by itself, and does not do it."""

    def __init__(self, capability: str, task_id: str, why: str) -> None:
        super().__init__(f"{capability}: task {task_id[:12]} is not approved: {why}")
        self.capability = capability
        self.task_id = task_id
        self.why = why


class ApproverUnknown(ApprovalRefused):
    """Those who approved it were never met here, so their right to is not known."""

    def __init__(self, capability: str, task_id: str, who: Sequence[str]) -> None:
        names = ", ".join(name[:8] for name in who)
        super().__init__(capability, task_id, f"{names} approved it, and is not known here")


class AgentHopeless(NetworkError):
    """An agent failed again after every restart in place; its node begins anew."""

    def __init__(self, agent: str, restarts: int, reason: str) -> None:
        super().__init__(
            f"agent {agent} has failed again after {restarts} restarts: {reason}; "
            "its whole node has to begin anew"
        )
        self.agent = agent
        self.restarts = restarts
        self.reason = reason


class NodeNotUp(NetworkError):
    def __init__(self, home: str) -> None:
        super().__init__(f"no node is up in {home}; start one with `conclave up`")
        self.home = home


class NoProvider(NetworkError):
    """Attributes: failed: agents that offer nothing now because they have failed, with their
    nodes; one of them may be who is missed."""

    def __init__(
        self, capability: str, offered: tuple[str, ...], peers: int, failed: tuple[str, ...] = ()
    ) -> None:
        detail = f"nobody offers {capability!r}; {peers} peer(s) are alive and offer: "
        detail += _first(offered) or "nothing"
        super().__init__(f"{detail}; failed: {_first(failed)}" if failed else detail)
        self.capability = capability
        self.offered = offered
        self.failed = failed


class NoSealingKey(NetworkError):
    def __init__(self, peer: str, why: str) -> None:
        super().__init__(
            f"nothing can be sealed for {peer} now, nor was it: its key is not known here, and it "
            f"cannot be asked for one ({why}); wait until it is back"
        )
        self.peer = peer
        self.why = why


class NoOtherPeer(NetworkError):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: no other peer is alive; bring one up, `conclave invite` prints its ticket"
        )
        self.what = what


class CircuitOpen(NetworkError):
    """Everyone who offers it failed so often just now that nobody was asked."""

    def __init__(self, capability: str, peers: tuple[str, ...], retry_in_ms: int) -> None:
        names = ", ".join(peers[:8]) + (", ..." if len(peers) > 8 else "")
        super().__init__(
            f"{capability}: not sent, since calls to {names} failed again and again; "
            f"the next may pass in {retry_in_ms / 1000:g} s"
        )
        self.capability = capability
        self.peers = peers
        self.retry_in_ms = retry_in_ms


class ChannelClosed(NetworkError):
    """A channel is over; what was sent may have been read or not."""

    definite = False

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: the channel is over: {reason}")
        self.what = what
        self.reason = reason


class NotRenewed(NetworkError):
    """No issuer has renewed our certificate; the one that we have is as it was."""

    def __init__(self, refusals: tuple[str, ...]) -> None:
        said = "; ".join(refusals) or (
            "no issuer is here: bring up the node that ran `conclave init`, or another issuer"
        )
        super().__init__(f"this node's certificate is not renewed: {said}")
        self.refusals = refusals


class NotRevoked(NetworkError):
    """Nothing was revoked: it is not known who was meant, or no issuer did it."""

    def __init__(self, whom: str, refusals: tuple[str, ...]) -> None:
        said = "; ".join(refusals) or (
            "no issuer is here: do it on the node that ran `conclave init`, or bring it up; or "
            "sign a list with the root's key (docs/revocation.md)"
        )
        super().__init__(f"{whom[:80]!r} is not revoked: {said}")
        self.whom = whom
        self.refusals = refusals


class NotFollowed(NetworkError):
    """Who votes is not taken from that peer."""


class NoQuorum(NetworkError):
    """Not enough voters reach each other, so nothing can be decided; calls still work."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"NoQuorum: {detail}")
        self.detail = detail


class TooFewMembers(NetworkError):
    """Not enough peers fit for a cluster; it was not formed."""

    def __init__(
        self,
        cluster: str,
        capability: str,
        needed: int,
        fits: tuple[str, ...],
        unfit: tuple[tuple[str, str], ...],
    ) -> None:
        who = ", ".join(fits) or "nobody"
        others = "; ".join(f"{name}: {why}" for name, why in unfit) or "nobody else is here"
        super().__init__(
            f"cluster {cluster!r} is not formed: it needs {needed} that offer {capability}, and "
            f"{len(fits)} fit: {who}. The others: {others}"
        )
        self.cluster = cluster
        self.capability = capability
        self.needed = needed
        self.fits = fits
        self.unfit = tuple(f"{name}: {why}" for name, why in unfit)


class OutcomeUnknown(NetworkError):
    definite = False

    def __init__(self, what: str, detail: str, advice: str = "asking again is safe") -> None:
        super().__init__(f"{what}: the outcome is unknown ({detail}); {advice}")
        self.what = what
        self.detail = detail


class StoreError(AgentsError):
    """What was asked of the store was decided, and it was no."""


class CompareFailed(StoreError):
    """The key is not as the caller expected; it was left as it is."""

    def __init__(self, key: str, found: int | None) -> None:
        there = "it is absent" if found is None else f"version {found} is there"
        super().__init__(f"key {key!r} was not changed: {there}; read it again and decide anew")
        self.key = key
        self.found = found


class StoreFull(StoreError):
    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"{key!r}: the store has {what}; delete what is not needed")
        self.key = key
        self.what = what


class LockHeld(StoreError):
    """It did not become free in time."""

    def __init__(self, name: str, holder: str, timeout_s: float) -> None:
        super().__init__(f"lock {name!r} is held by {holder}, and was for {timeout_s:g} s")
        self.name = name
        self.holder = holder
        self.timeout_s = timeout_s


class LockLost(StoreError):
    """Another one may hold the lock by now."""

    def __init__(self, name: str, token: int, why: str) -> None:
        super().__init__(f"lock {name!r}, token {token}, is lost: {why}; stop the work")
        self.name = name
        self.token = token
        self.why = why


class PolicyRefused(AgentsError):
    """The network's policy was not changed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the policy was not changed: {why}")
        self.why = why


class DecisionError(AgentsError):
    """A question to the voters, or a vote on one, came to nothing."""


class QuestionRefused(DecisionError):
    """Nobody was asked."""

    def __init__(self, question: str, why: str) -> None:
        super().__init__(f"the question {question[:80]!r} was not put to a vote: {why}")
        self.question = question
        self.why = why


class VoteRefused(DecisionError):
    """The ballot of this node was not cast."""

    def __init__(self, decision_id: str, why: str) -> None:
        super().__init__(f"no ballot was cast on decision {decision_id[:12]}: {why}")
        self.decision_id = decision_id
        self.why = why


class DecisionUnknown(DecisionError):
    """Nothing of that id was put to a vote, or it is forgotten."""

    def __init__(self, decision_id: str) -> None:
        super().__init__(
            f"there is no decision {decision_id[:32]!r}; `conclave vote` lists the open ones"
        )
        self.decision_id = decision_id


class GiveUp(AgentsError):
    """Raise it in a handler to fail the task at once; any other exception is tried again."""


class TaskError(AgentsError):
    """The task has no result."""

    def __init__(self, task_id: str, detail: str) -> None:
        super().__init__(f"task {task_id[:12]}: {detail}")
        self.task_id = task_id
        self.detail = detail


class TaskFailed(TaskError):
    """Its handler raised; `remote_traceback` holds the other side's words."""

    def __init__(
        self, task_id: str, peer: str, error_type: str, message: str, remote_traceback: str = ""
    ) -> None:
        super().__init__(task_id, f"failed at {peer}: {error_type}: {message}")
        self.peer = peer
        self.error_type = error_type
        self.message = message
        self.remote_traceback = remote_traceback


class TaskParked(TaskError):
    """It used up its attempts and waits for someone to look: `conclave tasks --state parked`."""


class TaskCancelled(TaskError):
    """Someone cancelled it."""


class TaskUnknown(TaskError):
    """The ledger has no task of that id."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id, "the ledger has no such task")


class TaskTimeout(TaskError):
    definite = False

    def __init__(self, task_id: str, timeout_s: float, state: str) -> None:
        super().__init__(task_id, f"still {state} after {timeout_s:g} s; it goes on without you")
        self.timeout_s = timeout_s
        self.state = state


def _first(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
