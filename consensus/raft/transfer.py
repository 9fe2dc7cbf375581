"""Handing over leadership on purpose (thesis 3.10, rule R14).

Proposals are refused from the wish on; the target catches up; TimeoutNow makes it campaign with a
flag that passes stickiness; after one election timeout without success the leader goes on leading.

What this module does not know: why anyone wants it; how entries are sent.
"""

from __future__ import annotations

from consensus.raft.election import campaign
from consensus.raft.events import TransferEnded
from consensus.raft.membership import NodeId
from consensus.raft.messages import TimeoutNow
from consensus.raft.state import NodeState, TransferState
from consensus.raft.types import DropReason, Role


def on_transfer(state: NodeState, target: NodeId | None, now_ms: int) -> None:
    """Begin; one wish at a time, a second one for the same target joins the first."""
    chosen = target if target is not None else _furthest(state)
    pending = state.transfer
    if pending is not None and chosen == pending.target:
        return
    can_lead = chosen in state.memberships.active.voters and chosen in state.progress
    if pending is not None or chosen is None or not can_lead:  # never to a learner
        state.outbox.results.append(TransferEnded(target, False))
        return
    state.transfer = TransferState(chosen, now_ms + state.config.election_timeout_ms)
    state.replicate_due = True
    tell_target_if_ready(state)


def tell_target_if_ready(state: NodeState) -> None:
    """Once, and only when the target has every entry of ours: else it could not be elected."""
    transfer = state.transfer
    if transfer is None or transfer.is_told:
        return
    if state.progress[transfer.target].match == state.log.last_index:
        transfer.is_told = True
        state.send(TimeoutNow(state.config.node_id, transfer.target, state.term))


def give_up_transfer(state: NodeState) -> None:
    """It took too long: lead on and take proposals again."""
    if state.transfer is not None:
        state.outbox.results.append(TransferEnded(state.transfer.target, False))
        state.transfer = None


def on_timeout_now(state: NodeState, message: TimeoutNow, now_ms: int) -> None:
    """The leader of this term asks for a campaign: no pre-vote, its word is enough."""
    if state.role is not Role.FOLLOWER or state.leader not in (None, message.sender):
        state.drop(DropReason.UNEXPECTED)
    elif state.storage_full:
        state.drop(DropReason.STORAGE_FULL)
    elif not state.may_campaign:
        state.drop(DropReason.UNEXPECTED)
    else:
        campaign(state, now_ms, transfer=True)


def _furthest(state: NodeState) -> NodeId | None:
    """Of the followers heard of late, the one with the longest confirmed log."""
    voters = state.memberships.active.voters
    candidates = [peer for peer in voters if peer in state.progress]
    active = [peer for peer in candidates if state.progress[peer].is_active] or candidates
    return max(active, key=lambda peer: state.progress[peer].match, default=None)
