"""A second verifier, for whoever doubts the first: `python -m keys.second_opinion FILE`.

It shares no code with what a node runs and was written from the documents of the formats alone, so
that a mistake would have to be made twice. Tests feed both the same mutations and compare what
they say. The answer is yes, or `No` with one word where it was noticed.

    verifier    members' chains of a network with one root key: what there mostly is
    decisions   certificates of a quorum's decisions
    extras      roots of several keys, roots that were replaced, transport records
    lists       what was revoked

Each is under 150 lines and read from the top; the first stands alone. Chains and decisions do not
fit one such file: the formats have nothing in common but a digest and a signature (one is msgpack
in its canonical form, the other fields behind lengths), so there would be two readers and two sets
of rules in it. Written for that alone it came to some 200 lines, and to 170 with the rules packed
so tightly that nobody could hold a line beside its sentence in the documents: what this is for.
"""

from keys.second_opinion.decisions import decision
from keys.second_opinion.extras import record
from keys.second_opinion.lists import chain
from keys.second_opinion.verifier import No
from keys.second_opinion.verifier import chain as plain_chain

__all__ = ["No", "chain", "decision", "plain_chain", "record"]
