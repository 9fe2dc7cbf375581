"""What a member brings to an introduction: who it is, its papers, and what it trusts.

What this module does not know: where these come from (a data directory, or a simulation), and
what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keys import Chain, Identity, PeerId, TransportKey, TransportRecord, Trust


@dataclass(slots=True)
class Credentials:
    """Our side of every handshake. Whoever owns it may replace `chain` and `trust` at any time.

    `record` gives the transport record that is current now; it may be a new one at each call, with
    a higher sequence number. `transport_keys` gives the CURVE key that this record names, and
    after it one that is being given up. `now_ms` is the wall clock, in Unix milliseconds.
    """

    identity: Identity
    chain: Chain
    trust: Trust
    name: str
    record: Callable[[], TransportRecord]
    transport_keys: Callable[[], Sequence[TransportKey]]
    now_ms: Callable[[], int]

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id
