"""What an audit log tells of. `docs/audit.md` explains each; a test compares them.

What this module does not know: where such a thing happens.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    # This node.
    NODE_STARTED = "node.started"
    NODE_STOPPED = "node.stopped"
    NODE_FAILED = "node.failed"
    UNLOCK_FAILED = "unlock.failed"
    CONFIG_CHANGED = "config.changed"
    AGENT_HEALTH = "agent.health"
    COMMAND_RUN = "command.run"
    # Others, at the door and behind it.
    PEER_ADMITTED = "peer.admitted"
    PEER_REFUSED = "peer.refused"
    PEER_EXPELLED = "peer.expelled"
    PERMISSION_DENIED = "permission.denied"
    TASK_REFUSED = "task.refused"
    # Papers.
    TICKET_MADE = "ticket.made"
    TICKET_REDEEMED = "ticket.redeemed"
    CERTIFICATE_ISSUED = "certificate.issued"
    CERTIFICATE_RENEWED = "certificate.renewed"
    CERTIFICATE_REVOKED = "certificate.revoked"
    KEY_ROTATED = "key.rotated"
    POLICY_CHANGED = "policy.changed"
    ISSUER_ASKED = "issuer.asked"
    ISSUER_INSTALLED = "issuer.installed"
    ROOT_LEARNED = "root.learned"
    # The network.
    LEADER_CHANGED = "leader.changed"
    ROSTER_ADOPTED = "roster.adopted"
    VOTERS_CHANGED = "voters.changed"
    VOTERS_ASKED = "voters.asked"
    CLUSTER_FORMED = "cluster.formed"
    CLUSTER_CHANGED = "cluster.changed"
    CLUSTER_DISSOLVED = "cluster.dissolved"
    # Audit logs themselves.
    LOG_BEGUN = "log.begun"
    LOG_CUT = "log.cut"
    LOG_UNSIGNED = "log.unsigned"
    LOG_BROKEN = "log.broken"
    LOG_DROPPED = "log.dropped"
    LOG_LOST = "log.lost"
    HEAD_BACK = "head.back"
    HEAD_FORKED = "head.forked"


# What others can cause as often as they like: repeats within a minute are one entry with a count.
REPEATED = frozenset(
    {
        Kind.PEER_ADMITTED,
        Kind.PEER_REFUSED,
        Kind.PEER_EXPELLED,
        Kind.PERMISSION_DENIED,
        Kind.TASK_REFUSED,
        Kind.CERTIFICATE_RENEWED,
        Kind.UNLOCK_FAILED,
        Kind.CLUSTER_FORMED,
        Kind.CLUSTER_CHANGED,
        Kind.CLUSTER_DISSOLVED,
        Kind.HEAD_BACK,
        Kind.HEAD_FORKED,
        Kind.AGENT_HEALTH,
    }
)
