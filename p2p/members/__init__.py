"""Members whom we know without having met them: their papers, and links to them when needed.

What this package does not know: what members say to each other.
"""

from p2p.members.messages import PAPERS
from p2p.members.papers import PaperBook, Papers, mark_of, sign_as
from p2p.members.reaching import Reaching
from p2p.members.strangers import Strangers

__all__ = ["PAPERS", "PaperBook", "Papers", "Reaching", "Strangers", "mark_of", "sign_as"]
