"""Decisions of a quorum, for programs: `net.decide`, `net.decisions`, `net.cast`.

What this module does not know: how ballots travel, what the log makes of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from agents.amounts import millis
from agents.deciding import Wish
from agents.local import Gate

DEFAULT_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class QuorumDecision:
    """How a question stands or has ended, as the log says.

    Attributes:
        outcome: "approved", "rejected", "vetoed", "blocked" (nobody can approve it any more) or
            "expired"; "open" of one that has not ended.
        why: in words, of one that ended and was not approved.
        votes: who said what, as the certificate proves, or as the log saw when it was blocked.
        accused: the peer ids of those who signed two different ballots.
        certificate: proves the outcome to anybody, offline; None of an expired, blocked or
            open one, which only the log can prove.
    """

    id: str
    question: str
    kind: str
    subject: bytes
    outcome: str
    proposer: str
    voters: tuple[dict[str, Any], ...]
    votes: tuple[dict[str, Any], ...]
    accused: tuple[str, ...]
    needed: int
    total: int
    index: int
    certificate: bytes | None = field(default=None, repr=False)
    why: str = ""

    @property
    def approved(self) -> bool:
        """Whether the voters approved it."""
        return self.outcome == "approved"

    @property
    def certificate_json(self) -> str | None:
        """The certificate as text that people can read, and that proves as much."""
        if self.certificate is None:
            return None
        from consensus.ballots import QuorumCertificate, to_json

        return to_json(QuorumCertificate.from_bytes(self.certificate))

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Self:
        """From what a node answers."""
        return cls(
            id=view["id"],
            question=view["question"],
            kind=view["kind"],
            subject=view["subject"],
            outcome=view["status"],
            proposer=view["proposer"],
            voters=tuple(view["voters"]),
            votes=tuple(view["votes"]),
            accused=tuple(view["accused"]),
            needed=view["needed"],
            total=view["total"],
            index=view["closed_index"],
            certificate=view["certificate"],
            why=view.get("why", ""),
        )


class DecidingNet:
    """What one may ask of the voters through a node; part of `Net`."""

    _gate: Gate

    async def decide(
        self,
        question: str,
        *,
        subject: bytes = b"",
        kind: str = "",
        voters: Iterable[str] | None = None,
        weights: Mapping[str, int] | None = None,
        may_veto: Iterable[str] = (),
        threshold: tuple[int, int] = (2, 3),
        deadline: float = DEFAULT_DEADLINE_S,
        key: str | None = None,
    ) -> QuorumDecision:
        """Put a question to the voters and return how it ended; docs/decisions.md.

        Args:
            subject: what it is about, up to 64 KiB; every ballot signs its digest.
            kind: which judges of the voters' agents answer it; people do where there are none.
            voters: peers by id or name; all voters of the log otherwise.
            weights: of voters by id or name; 1 otherwise.
            may_veto: voters, each of whom can stop it alone.
            threshold: the part of all weight that must be exceeded, at least one half.
            deadline: seconds of ledger time, after which the log ends it as expired.
            key: asked again by this node with the same key it is the same decision.

        Raises:
            QuestionRefused: it cannot be put to a vote, or somebody named cannot vote.
            NoQuorum: nothing can be decided now; nobody was asked.
            OutcomeUnknown: it may be open still; `decisions` tells.
        """
        wish = Wish(
            proposal_id=secrets.token_hex(16),
            question=question,
            subject=subject,
            kind=kind,
            voters=None if voters is None else tuple(voters),
            weights=dict(weights or {}),
            guardians=tuple(may_veto),
            threshold=threshold,
            deadline_ms=millis("decide", "deadline", deadline),
        )
        view = await self._gate.request("decide", {"wish": wish.to_wire(), "key": key})
        return QuorumDecision.of(view)

    async def decision(self, decision_id: str) -> QuorumDecision:
        """How a decision stands.

        Raises:
            DecisionUnknown, NoQuorum.
        """
        return QuorumDecision.of(await self._gate.request("decide.view", {"id": decision_id}))

    async def decisions(self, limit: int = 50) -> list[dict[str, Any]]:
        """Open and recent decisions, the latest first, as plain data.

        `own` is this node's choice, "may vote" where it has not voted, None where it has no say.
        """
        return list(await self._gate.request("decide.list", {"limit": limit}))

    async def cast(self, decision_id: str, choice: str, *, reason: str = "") -> dict[str, Any]:
        """This node's ballot, by a person: "approve", "reject", "abstain" or "veto". It is final.

        Raises:
            VoteRefused: it is over, not this node's to vote on, or voted on otherwise.
            DecisionUnknown, NoQuorum.
        """
        params = {"id": decision_id, "choice": choice, "reason": reason}
        return dict(await self._gate.request("decide.cast", params))
