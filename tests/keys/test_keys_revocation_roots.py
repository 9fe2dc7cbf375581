"""Revocation lists of roots that are several keys, and of roots that follow each other."""

from __future__ import annotations

import pytest
from keys_lab import NOW_MS
from roots_lab import line_of, quorum, single

from keys import (
    Chain,
    Revocations,
    Trust,
    entry_of_key,
    next_list,
    pack_list,
    read_list,
    read_own_list,
    verify,
)
from keys.refusals import CertificateRevoked


@pytest.mark.parametrize("roots", ["quorum", "successor", "both"])
def test_a_quorum_and_a_successor_sign_lists_like_a_root(roots: str) -> None:
    line = {
        "quorum": [quorum(2, 4, 5, 6)],
        "successor": [single(1), single(7)],
        "both": [single(1), quorum(2, 4, 5, 6)],
    }[roots]
    made = line_of(line)
    chain = made.chain
    top = Chain(chain.roots)
    entry = entry_of_key(chain.certificates[1].key_id, top.leaf, NOW_MS)
    listed = next_list(line[-1], top, Revocations(), [entry], NOW_MS)
    trust = Trust(chain.leaf.network_id)
    assert read_list(pack_list(listed), trust, NOW_MS).is_root
    assert read_own_list(pack_list(listed), NOW_MS) == listed
    verify(chain, trust, NOW_MS)
    with pytest.raises(CertificateRevoked):
        verify(chain, Trust(trust.network_id, revocations=Revocations().taking(listed)), NOW_MS)
