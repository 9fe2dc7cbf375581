"""Electors with real keys and proposals for them, the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

from consensus.ballots.proposal import TWO_THIRDS, Elector, Proposal
from consensus.ballots.scheme import Scheme
from keys import Identity, peer_id_of, verify_signature

SCHEME = Scheme(verify=verify_signature, peer_id_of=peer_id_of)
CLUSTER = "cluster-of-the-lab"


@cache
def identity(number: int) -> Identity:
    return Identity.from_secret(hashlib.sha256(b"elector %d" % number).digest())


def elector(number: int, weight: int = 1, may_veto: bool = False) -> Elector:
    key = identity(number)
    return Elector(key.peer_id, key.public_key, weight, may_veto, f"elector {number}")


def proposal(
    electors: int = 4,
    *,
    weights: Sequence[int] | None = None,
    vetoers: Sequence[int] = (),
    threshold: tuple[int, int] = TWO_THIRDS,
    number: int = 1,
    round: int = 0,
    question: str = "Shall the new build go out?",
    epoch: int = 7,
    deadline_ms: int = 60_000,
    cluster: str = CLUSTER,
) -> Proposal:
    given = weights if weights is not None else [1] * electors
    return Proposal.make(
        proposal_id=f"{number:032x}",
        cluster_id=cluster,
        epoch=epoch,
        electors=[elector(i, w, i in vetoers) for i, w in enumerate(given)],
        threshold=threshold,
        question=question,
        subject=b"\x00subject\xff",
        kind="release",
        round=round,
        deadline_ms=deadline_ms,
        proposer=identity(0).peer_id,
    )
