"""How revocation lists spread, and whom a peer listens to until both know the same ones.

What this package does not know: what a list means (`keys`), where lists are kept.
"""

from p2p.trusting.core import Spreading
from p2p.trusting.freshness import Freshness, Strictness
from p2p.trusting.messages import HEAD, LIST, WANT
from p2p.trusting.trusting import Trusting

__all__ = ["HEAD", "LIST", "WANT", "Freshness", "Spreading", "Strictness", "Trusting"]
