"""What is wrong with a running node and its network, in words, with what to do about it.

What this module does not know: how findings are printed. What can be said without a running node
is in `agents.cli.doctor`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from agents.health import Health
from p2p import MemberState

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

CLOCK_WARNING_MS = 30_000
ISSUER_WARNING_MS = 60 * 24 * 3_600_000
_RENEWAL_ADVICE = (
    "bring up an issuer (the node that ran `conclave init`) and try `conclave renew`; "
    "when it has ended, join again with a new ticket"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        advice: what to do, or empty.
    """

    level: Literal["ok", "warning", "problem"]
    topic: str
    said: str
    advice: str = ""

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


def examine(node: NodeParts) -> list[Finding]:
    """Look at everything that is usually wrong."""
    return [
        *_multicast(node),
        *_peers(node),
        *_quorum(node),
        *_voters(node),
        *_certificate(node),
        *_revocations(node),
        *_clock(node),
        *_audit(node),
        *_agents(node),
        *_clusters(node),
    ]


def _multicast(node: NodeParts) -> list[Finding]:
    problem = node.peer.gathering.lan_problem
    found = []
    if problem is not None:
        found.append(
            Finding(
                "warning",
                "multicast",
                problem,
                "give the address of one node: conclave up --seed HOST:PORT",
            )
        )
    else:
        found.append(Finding("ok", "multicast", "mDNS works on this machine"))
    others = node.peer.gathering.nodes_of_other_networks
    if others:
        found.append(
            Finding("ok", "networks", f"{others} node(s) of other networks on this LAN, left alone")
        )
    return found


def _agents(node: NodeParts) -> list[Finding]:
    found = []
    for peer_id, card in node.directory:
        state, reason, _ = card.condition
        if state is not Health.HEALTHY:
            said = f"agent {card.name} of {node.peer.label(peer_id)} is {state}: {reason}"
            level: Literal["warning", "problem"] = (
                "problem" if state is Health.FAILED else "warning"
            )
            found.append(Finding(level, "agents", said, "its node's log says more"))
    return found


def _clusters(node: NodeParts) -> list[Finding]:
    return [
        Finding(
            "warning",
            "clusters",
            f"cluster {known.name} has {len(known.roster.members)} members and needs"
            f" {known.roster.min_size}: {known.roster.why}",
            f"`conclave cluster show {known.name}` says why others do not fit",
        )
        for known in node.clusters.book.all()
        if known.roster.is_short
    ]


def _peers(node: NodeParts) -> list[Finding]:
    alive = len(node.peer.presence.present())
    found = []
    if alive:
        found.append(Finding("ok", "peers", f"{alive} peer(s) alive"))
    else:
        found.append(
            Finding(
                "warning",
                "peers",
                "no peer is here",
                "bring up another node with `conclave up`, or name one with --seed HOST:PORT",
            )
        )
    twin = node.peer.gathering.twin
    if twin is not None:
        said = f"another process, at {twin}, has the identity of this node: its home was copied"
        advice = "stop one of the two; if you do not know the other, `conclave revoke` this node"
        found.append(Finding("problem", "identity", said, advice))
    for report in node.peer.gathering.why():
        if report.state == "connected" or not report.failures:
            continue
        who = report.peer_id[:8] if report.peer_id else "a node"
        address, reason = report.failures[0]
        sources = " and ".join(source.value for source in report.sources) or "earlier runs"
        found.append(
            Finding(
                "warning",
                "peers",
                f"{who} at {address} (known from {sources}): {reason}; {report.state}",
                _advice_for(reason),
            )
        )
    for member in node.peer.presence.members():
        if member.state is MemberState.DEAD:
            silent_s = member.silent_ms // 1000
            label = node.peer.label(member.peer_id)
            found.append(Finding("warning", "peers", f"{label} is silent for {silent_s} s"))
    return found


def _advice_for(reason: str) -> str:
    if "another network" in reason:
        return "it is of another network: join it with one of its tickets, or leave it alone"
    if "refused" in reason.lower():
        return "nothing listens there: is the node up, and on that port?"
    if "no answer" in reason:
        return "packets are lost: look for a firewall on TCP ports of that machine"
    if "was revoked" in reason:
        return "one of the two was revoked: it joins again with a new ticket and directory, or not"
    if "another root number" in reason:
        return "two rotations of one root: ask the keepers of the root, see docs/ceremonies.md"
    if "clock" in reason:
        return "compare the clocks of the two machines and the certificate's validity"
    return ""


def _quorum(node: NodeParts) -> list[Finding]:
    leader, unheard = node.quorum.leader(), node.quorum.unheard
    if leader is not None:
        label = node.peer.label(leader)
        found = [Finding("ok", "quorum", f"{label} leads, term {node.quorum.term}")]
        if unheard.awaited:
            said = f"this voter does not begin its log yet: {unheard.why()}"
            found.append(Finding("warning", "quorum", said, "bring them up, or replace them"))
        return found
    advice = "bring up more voters" if node.quorum.roster is not None else ""
    return [Finding("problem", "quorum", f"NoQuorum: {node.quorum.why_none()}", advice)]


def _voters(node: NodeParts) -> list[Finding]:
    """Whether old keys alone could prove who votes here; they do not, and somebody has to help."""
    confirming = node.quorum.vouching.confirming
    if node.quorum.roster is None or not confirming.is_stale:
        return []
    ago = "at no time that this node knows of"
    if confirming.since_ms:
        ago = f"{_days(node.world.clock.wall_ms() - confirming.since_ms)} ago"
    said = f"who votes was last confirmed {ago}"
    level: Literal["warning", "problem"] = "warning"
    if confirming.refused_ms:
        level = "problem"
        said += ", and what is shown since is signed by none of them who is a member now"
    advice = "bring up one of those who voted then, or a node with the role admin"
    return [Finding(level, "voters", said, advice)]


def _certificate(node: NodeParts) -> list[Finding]:
    left_ms = node.peer.principal.not_after_ms - node.world.clock.wall_ms()
    days = left_ms / 86_400_000
    if left_ms <= 0:
        return [Finding("problem", "certificate", "it has expired", "join again with a new ticket")]
    renewing = node.renewing
    said = f"valid for {_days(left_ms)} more"
    if renewing.problem is not None:
        level: Literal["warning", "problem"] = "warning" if days > 1 else "problem"
        found = [Finding(level, "certificate", f"{said}; {renewing.problem}", _RENEWAL_ADVICE)]
    else:
        due_ms = max(0, renewing.due_ms - node.world.clock.wall_ms())
        said = f"{said}, renewed in {_days(due_ms)}"
        found = [Finding("ok", "certificate", said)]
    found += _roots(node)
    issuer = node.keystore.issuer
    if issuer is not None:
        left_ms = issuer.chain.leaf.not_after_ms - node.world.clock.wall_ms()
        if left_ms < ISSUER_WARNING_MS:
            found.append(
                Finding(
                    "warning" if left_ms > 0 else "problem",
                    "issuer",
                    f"this issuer's own certificate is valid for {_days(left_ms)} more",
                    "only the root's key can renew it: docs/ceremonies.md",
                )
            )
    return found


def _roots(node: NodeParts) -> list[Finding]:
    """What is still of a root that has a successor."""
    trust, now_ms = node.keystore.trust, node.world.clock.wall_ms()
    found = []
    chains = {"certificate": node.keystore.chain}
    if node.keystore.issuer is not None:
        chains["issuer"] = node.keystore.issuer.chain
    for topic, chain in chains.items():
        successor = trust.seen.successor_of(chain.roots) if trust.seen is not None else None
        if successor is None or successor.rotation is None:
            continue
        left_ms = successor.rotation.old_until_ms - now_ms
        said = f"it is of root number {chain.rotations}, which counts for {_days(left_ms)} more"
        advice = "it is renewed as soon as an issuer of the new root is up"
        if topic == "issuer":
            advice = "have the new root sign its request: docs/ceremonies.md"
        level: Literal["warning", "problem"] = "warning" if left_ms > 0 else "problem"
        found.append(Finding(level, topic, said, advice))
    return found


def _revocations(node: NodeParts) -> list[Finding]:
    trusting, now_ms = node.peer.trusting, node.world.clock.wall_ms()
    held = trusting.revocations
    if trusting.conflict is not None:
        return [Finding("problem", "revocations", trusting.conflict)]
    stale = held.stale(now_ms)
    if stale is not None:
        listed, late_ms = stale
        said = (
            f"the list of {listed.signer.name} should have been made anew {_days(late_ms)} ago: "
            "perhaps somebody keeps later ones from us"
        )
        withheld = trusting.freshness.withheld
        advice = "bring up the node of that issuer" + (
            "; until then what changes the network is refused, unless revocation_freshness is off"
            if withheld
            else ""
        )
        return [Finding("problem", "revocations", said, advice)]
    if not len(held):
        return []
    entries = sum(len(each.list.entries) for each in held)
    return [Finding("ok", "revocations", f"{len(held)} list(s), {entries} entries, all fresh")]


def _days(left_ms: int) -> str:
    days = max(0, left_ms) / 86_400_000
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.1f} hours"


def _clock(node: NodeParts) -> list[Finding]:
    offset_ms = node.peer.presence.clock_offset_ms
    if offset_ms is None:
        return []
    direction = "ahead" if offset_ms > 0 else "behind"
    said = f"the others' clocks are {abs(offset_ms) / 1000:.1f} s {direction}"
    if abs(offset_ms) > CLOCK_WARNING_MS:
        return [Finding("warning", "clock", said, "set the clock; certificates depend on it")]
    return [Finding("ok", "clock", said)]


def _audit(node: NodeParts) -> list[Finding]:
    audit, alarms = node.auditing.audit, node.auditing.heads.alarms
    found = []
    if audit.problem is not None:
        said = f"entries cannot be written: {audit.problem}; {audit.lost} are lost"
        found.append(Finding("problem", "audit", said, f"make room for {node.home / 'audit'}"))
    elif audit.head is not None:
        said = f"{audit.head.head.sequence} entries, {audit.written} of this start"
        found.append(Finding("ok", "audit", said))
    for peer_id in sorted(alarms):
        label = node.peer.label(peer_id)
        said = f"{label} has changed or lost its audit log: it went back, or names another entry"
        path = node.home / "audit" / "heads" / f"{peer_id}.fork"
        advice = f"find out who did it; the proof is {path} and the .head beside it"
        found.append(Finding("problem", "audit", said, advice))
    return found
