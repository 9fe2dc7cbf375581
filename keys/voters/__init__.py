"""Who votes after the first roster: statements that the voters before have signed."""

from keys.voters.book import MAX_KEPT, VotersBook
from keys.voters.confirmed import TRUSTED_MS, Confirmed, ConfirmedFile
from keys.voters.statement import VoterSet, VotersRefused, VotersStatement, walk_voters

__all__ = [
    "MAX_KEPT",
    "TRUSTED_MS",
    "Confirmed",
    "ConfirmedFile",
    "VoterSet",
    "VotersBook",
    "VotersRefused",
    "VotersStatement",
    "walk_voters",
]
