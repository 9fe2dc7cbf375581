"""Questions that a quorum answers with signed ballots: what a node needs beside the log.

`agents.deciding_service` puts these parts together; the rules of proposals, ballots and
certificates are those of `consensus.ballots`.
"""

from agents.deciding.collecting import Collecting
from agents.deciding.judging import Judge, Judges, Question, marked, shown, votes
from agents.deciding.machine import Decisions
from agents.deciding.opening import Candidate, Wish, id_of_key, is_repeated, propose
from agents.deciding.signing import SCHEME
from agents.deciding.voting import Voting

__all__ = [
    "SCHEME",
    "Candidate",
    "Collecting",
    "Decisions",
    "Judge",
    "Judges",
    "Question",
    "Voting",
    "Wish",
    "id_of_key",
    "is_repeated",
    "marked",
    "propose",
    "shown",
    "votes",
]
