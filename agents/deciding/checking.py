"""Checking a certificate offline: does it hold, and are its voters those of a network's roster?

The roster is the signed list of the first voters. Voters that came later are in the log only, so a
certificate in which one of them may vote is not one of the roster's: it says who is strange, and a
node that is up can be asked what its log holds.

What this module does not know: files, how lines are shown.
"""

from __future__ import annotations

from collections.abc import Collection

from agents.deciding.signing import SCHEME
from consensus import ballots
from consensus.ballots import (
    CertificateInvalid,
    QuorumCertificate,
    from_json,
    is_valid,
)
from keys import NetworkId, PeerId


def check_certificate(
    data: bytes, network_id: NetworkId | None = None, voters: Collection[PeerId] = ()
) -> tuple[list[str], bool]:
    """Say in lines what a certificate proves, and whether it holds.

    Args:
        network_id: of the network whose roster's voters are `voters`; None if there is none to
            compare with, which one of the lines then says.
    """
    if network_id is None:
        lines = ballots.explain(data, SCHEME)
        return lines, is_valid(lines)
    try:
        proposal = _read(data).proposal
    except CertificateInvalid:
        return ballots.explain(data, SCHEME), False
    if proposal.cluster_id != network_id:
        return [f"INVALID: of another network, not of {network_id}"], False
    strange = [each.peer_id for each in proposal.electors if each.peer_id not in voters]
    if strange:
        lines = ["INVALID: of other voters than those of the roster"]
        return [*lines, *(f"  not in the roster: {peer_id}" for peer_id in strange)], False
    lines = ballots.explain(data, SCHEME, proposal.electors)
    asked = len(proposal.electors)
    lines.append(f"  of the network's roster: {asked} of its {len(voters)} voters were asked")
    return lines, is_valid(lines)


def _read(data: bytes) -> QuorumCertificate:
    is_json = data.lstrip()[:1] == b"{"
    return from_json(data) if is_json else QuorumCertificate.from_bytes(data)
