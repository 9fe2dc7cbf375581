"""A second verifier, for whoever doubts the first: `python -m keys.second_opinion FILE`.

It shares no code with what a node runs and was written from the documents of the formats alone, so
that a mistake would have to be made twice. Tests feed both the same mutations and compare what
they say. The answer is yes, or `No` with one word where it was noticed.
"""

from keys.second_opinion.chains import chain
from keys.second_opinion.decisions import decision
from keys.second_opinion.objects import No

__all__ = ["No", "chain", "decision"]
