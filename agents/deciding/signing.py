"""The signatures of ballots: those of the nodes' identities, Ed25519 as in `keys`.

A node signs as the peer that it is; its `keys.Identity` is the signer. The domain "ballot" keeps
these signatures apart from all others that the identity makes.

What this module does not know: what is signed, who may vote.
"""

from __future__ import annotations

from typing import Final

from consensus.ballots import Scheme
from keys import peer_id_of, verify_signature

SCHEME: Final = Scheme(verify=verify_signature, peer_id_of=peer_id_of)
