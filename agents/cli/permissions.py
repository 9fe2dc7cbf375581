"""What each command needs: a permission of the node that it acts as, or nothing but its own home.

    local    it touches the own home alone, or asks the own node of itself
    joining  it needs a ticket, and no network yet
    else     the permission that the other side asks for; which capability, topic, key or task it is
             about is judged there too

A test compares this table with the parser: a command without a row here does not pass.

What this module does not know: how any of it is asked.
"""

from __future__ import annotations

from typing import Final

from keys import Permission

LOCAL: Final = "local"
JOINING: Final = "joining"

NEEDED: Final[dict[str, str]] = {
    "init": LOCAL,
    "invite": LOCAL,  # of a home that holds the issuer's key
    "join": JOINING,
    "up": LOCAL,
    "status": LOCAL,
    "peers": LOCAL,
    "agents": LOCAL,
    "tasks": "TASK_READ",
    "top": LOCAL,
    "bench": "CALL",
    "doctor": LOCAL,
    "call": "CALL",
    "submit": "TASK_SUBMIT",
    "cancel": "TASK_SUBMIT",  # of others' tasks TASK_CONTROL
    "retry": "TASK_SUBMIT",
    "run": "TASK_SUBMIT",
    "pub": "PUBLISH",
    "tail": "SUBSCRIBE",  # below conclave/ SUBSCRIBE_METADATA
    "kv get": "STORE_READ",  # below conclave/ CONFIG_READ
    "kv list": "STORE_READ",
    "kv watch": "STORE_READ",
    "kv put": "STORE_WRITE",
    "kv cas": "STORE_WRITE",
    "kv delete": "STORE_WRITE",
    "lock": "STORE_WRITE",
    "revoke": "CERT_REVOKE",  # at other nodes; with the issuer's or the root's own key: local
    "revocations": LOCAL,
    "clusters": LOCAL,
    "cluster show": "STATUS_READ",
    "raft status": "STATUS_READ",
    "raft transfer": "RAFT_ADMIN",
    "raft add-voter": "RAFT_ADMIN",
    "raft remove-voter": "RAFT_ADMIN",
    "raft autopilot": "CONFIG_CHANGE",
    "raft follow": "RAFT_ADMIN",
    "raft snapshot": LOCAL,
    "raft backup": LOCAL,
    "raft restore": LOCAL,
    "raft force-new-cluster": LOCAL,
    "raft rejoin": LOCAL,
    "decide": "DECIDE",
    "vote": "TASK_READ",  # a ballot is the node's own, as the question names it
    "verify-certificate": LOCAL,
    "policy show": LOCAL,
    "policy check": LOCAL,
    "policy explain": LOCAL,
    "policy set": "CONFIG_CHANGE",
    "policy reset": "CONFIG_CHANGE",  # while the node is down: the files of a voter
    "issuer request": LOCAL,
    "issuer install": LOCAL,
    "issuer open": LOCAL,
    "issuer show": LOCAL,
    "root key": LOCAL,  # these five are for files of people, mostly off the network
    "root show": LOCAL,
    "root sign": LOCAL,
    "root rotate": LOCAL,
    "root learn": LOCAL,
    "renew": "MEMBERSHIP",
    "keys rotate": LOCAL,
    "audit show": LOCAL,  # of another node AUDIT_READ
    "audit verify": LOCAL,
    "audit export": LOCAL,
    "seal": "MEMBERSHIP",  # asks the readers for their keys
    "unseal": LOCAL,
    "keys show": LOCAL,
    "keys change-passphrase": LOCAL,
    "keys backup": LOCAL,
    "keys backup-key": LOCAL,
    "keys restore": LOCAL,
    "token issue": LOCAL,  # of a node with TOKEN_ISSUE
    "token show": LOCAL,
    "token revoke": "CONFIG_CHANGE",
    "token client add": "CONFIG_CHANGE",
    "token client list": LOCAL,
    "token client remove": "CONFIG_CHANGE",
    "chaos run": LOCAL,  # a network of its own, in memory
    "demo": LOCAL,
}


def permission_for(words: str) -> Permission | None:
    """The permission that a command needs of others; None for one that asks nobody.

    Raises:
        KeyError: nobody has said.
    """
    needed = NEEDED[words]
    return None if needed in (LOCAL, JOINING) else Permission[needed]
