"""Certificates of a quorum's decisions, verified again from `consensus/ballots/FORMAT.md` alone.

What this module does not know: whose decision it should have been, unless it is told the digest of
the electorate; the modules that a node runs.
"""

from __future__ import annotations

from nacl.bindings import crypto_core_ed25519_is_valid_point

from keys.second_opinion.verifier import No, digest, id_of, need, signed

_BALLOT_BYTES, _PROPOSAL_BYTES = 1_616, 144_384
_CERTIFICATE_BYTES = _PROPOSAL_BYTES + 256 * (_BALLOT_BYTES + 4) + 64
_APPROVE, _REJECT, _ABSTAIN, _VETO = 1, 2, 3, 4


class _Take:
    """Takes fields off the front of some bytes."""

    def __init__(self, data: bytes, magic: bytes) -> None:
        self.left = data
        need(self.take(len(magic)) == magic, "magic")

    def take(self, count: int) -> bytes:
        need(count <= len(self.left), "cut off")
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def number(self, width: int, lowest: int = 0, highest: int = 2**53 - 1) -> int:
        value = int.from_bytes(self.take(width), "big")
        need(lowest <= value <= highest, "number")
        return value

    def blob(self, highest: int, lowest: int = 0) -> bytes:
        return self.take(self.number(4, lowest, highest))

    def text(self, highest: int, lowest: int = 0) -> bytes:
        raw = self.blob(highest, lowest)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            raise No("text") from None
        return raw


class _Proposal:
    """What was asked of whom, and how every ballot on it begins."""

    def __init__(self, raw: bytes) -> None:
        t = _Take(raw, b"CNBP\1")
        ident, cluster, epoch = t.take(16), t.text(256, 1), t.number(8)
        before = t.left
        self.electors = [self._elector(t) for _ in range(t.number(4, 1, 128))]
        electorate = before[: len(before) - len(t.left)]
        self.numerator, self.denominator = t.number(4), t.number(4, 1, 1_000_000)
        t.text(4096, 1), t.blob(65_536), t.text(64)  # question, subject, kind
        self.round = t.number(4, 0, 2**31 - 1)
        t.number(8, 1), t.text(256, 1)  # deadline, proposer
        need(not t.left, "bytes after the proposal")
        need(self.numerator < self.denominator <= 2 * self.numerator, "threshold")
        names = [name for name, _, _, _ in self.electors]
        need(names == sorted(set(names)), "order of electors")
        self.electorate = digest(b"conclave/electorate/v1\0" + electorate)
        begin = len(cluster).to_bytes(4, "big") + cluster + epoch.to_bytes(8, "big")
        self.beginning = begin + self.electorate + ident + digest(b"conclave/proposal/v1\0" + raw)

    @staticmethod
    def _elector(t: _Take) -> tuple[bytes, bytes, int, int]:
        name, key = t.text(256, 1), t.take(32)
        weight, may_veto = t.number(4, 1, 2**31 - 1), t.number(1, 0, 1)
        t.text(256)
        need(name == id_of(digest(key)).encode(), "peer id of an elector")
        need(crypto_core_ed25519_is_valid_point(key), "key of an elector")
        return name, key, weight, may_veto


def _ballot(raw: bytes, proposal: _Proposal) -> tuple[bytes, int, bytes, bytes]:
    """Voter, choice, what was signed and the signature."""
    t = _Take(raw, b"CNBB\1")
    body, signature = t.blob(1536), t.take(64)
    need(not t.left, "bytes after a ballot")
    inner = _Take(body, proposal.beginning)
    choice = inner.number(1, _APPROVE, _VETO)
    need(inner.number(4) == proposal.round, "round")
    voter = inner.take(32)
    inner.text(1024)
    need(not inner.left, "bytes after a statement")
    return voter, choice, body, signature


def decision(data: bytes, electorate: bytes | None = None) -> str:
    """What a certificate proves: approved, rejected or vetoed, by this electorate (its digest).

    Raises:
        No: it proves nothing.
    """
    need(len(data) <= _CERTIFICATE_BYTES, "too long")
    t = _Take(data, b"CNBC\1")
    outcome = t.number(1, 1, 3)
    proposal = _Proposal(t.blob(_PROPOSAL_BYTES))
    need(electorate in (None, proposal.electorate), "electorate")
    rights = {key: (weight, may_veto) for _, key, weight, may_veto in proposal.electors}
    raws = [t.blob(_BALLOT_BYTES) for _ in range(t.number(4, 0, 2 * len(rights)))]
    need(not t.left, "bytes after the end")
    ballots = [_ballot(raw, proposal) for raw in raws]
    order = [(voter, raw) for (voter, _, _, _), raw in zip(ballots, raws, strict=True)]
    need(order == sorted(set(order)), "order of ballots")
    said: dict[bytes, dict[bytes, int]] = {}
    for voter, choice, body, signature in ballots:
        need(voter in rights and (choice != _VETO or rights[voter][1]), "voter")
        need(body not in said.setdefault(voter, {}), "one statement twice")
        said[voter][body] = choice
        need(len(said[voter]) <= 2, "three ballots")
        signed(voter, "ballot", body, signature)
    need(_count(proposal, rights, said) == outcome, "count")
    return ("approved", "rejected", "vetoed")[outcome - 1]


def _count(
    proposal: _Proposal,
    rights: dict[bytes, tuple[int, int]],
    said: dict[bytes, dict[bytes, int]],
) -> int:
    """The outcome by its number; 0 for none. Who said two things counts for nothing."""
    weights = dict.fromkeys((_APPROVE, _REJECT, _ABSTAIN, _VETO), 0)
    counted = {voter: choices for voter, choices in said.items() if len(choices) == 1}
    for voter, choices in counted.items():
        weights[next(iter(choices.values()))] += rights[voter][0]
    bar = proposal.numerator * sum(weight for weight, _ in rights.values())
    if weights[_VETO]:
        return 3
    heard = all(key in counted for key, (_, may_veto) in rights.items() if may_veto)
    if proposal.denominator * weights[_APPROVE] > bar and heard:
        return 1
    rejecting = weights[_REJECT] + weights[_ABSTAIN]
    return 2 if proposal.denominator * rejecting > bar else 0
