"""Who votes after the first roster: a statement that the voters before have signed.

The first voters are those of the roster (`keys.roster`). Each later set is what the voters decided
in their log, and every member that has read the decision there signs it. Whoever knows one set
believes another when a majority of the set that it knows has signed: as in a light client, it may
skip what lies between. Nobody can make another believe in voters whom the voters did not choose.

A log that was begun again after a disaster has a higher generation, and no majority to sign it:
that takes one voter of the set that is known, or one whose certificate lets it change the voters.

Where a set has been known for so long that all certificates of that time have ended, there must be
one signer of it who is a member now, or an administrator who has signed the latest statement.

    [body, [[public key, signature], ...], chain]     the chain of one such administrator, or empty

What this module does not know: logs, how statements travel, who is here. Ids are of peers.

Invariants: names are sorted, each once (as bytes in the body, as text here); signatures are sorted
by key, one a key; one is looked at only when its owner's word counts, so that a statement costs no
more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from keys.canonical import MAX_INTEGER, Fields, NotCanonical, decode, encode
from keys.errors import CertificateRefused, RosterRefused
from keys.identity import (
    FINGERPRINT_BYTES,
    Identity,
    NetworkId,
    PeerId,
    decode_id,
    encode_id,
    fingerprint,
    peer_id_of,
    verify_signature,
)
from keys.roles import Permission
from keys.trust import MAX_CHAIN_BYTES, Chain, Trust, verify

VERSION: Final = 1
DOMAIN: Final = "voters"
LOG_CHARS: Final = 32
MAX_NAMES: Final = 64  # in each group
MAX_SIGNATURES: Final = 128
MAX_BODY_BYTES: Final = 12 * 1024
MAX_VOTERS_BYTES: Final = MAX_BODY_BYTES + MAX_SIGNATURES * 112 + MAX_CHAIN_BYTES

Certified = Callable[[PeerId], bool]  # whether it has a certificate that is good now


class VotersRefused(RosterRefused):
    """It is no statement, or nobody signed it whose word counts."""

    code = "voters"


@dataclass(frozen=True, slots=True)
class VoterSet:
    """Who votes, and where that was decided.

    Attributes:
        generation: of the log; a higher one was begun after a disaster.
        log_id: of the log.
        index: of the entry that decided it.
        outgoing: while the voters change: those before, of whom a majority is needed as well.
        learners: who listens.
        staying: outgoing voters who listen afterwards.
    """

    generation: int
    log_id: str
    index: int
    voters: tuple[PeerId, ...]
    outgoing: tuple[PeerId, ...] = ()
    learners: tuple[PeerId, ...] = ()
    staying: tuple[PeerId, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        return self.generation, self.index

    @property
    def members(self) -> frozenset[PeerId]:
        return frozenset((*self.voters, *self.outgoing, *self.learners))

    @property
    def deciders(self) -> frozenset[PeerId]:
        return frozenset((*self.voters, *self.outgoing))

    def has_majority(self, names: Collection[PeerId]) -> bool:
        """Of the voters, and of the outgoing ones if there are any."""
        groups = [group for group in (self.voters, self.outgoing) if group]
        return bool(self.voters) and all(
            sum(name in names for name in group) > len(group) // 2 for group in groups
        )


@dataclass(frozen=True, slots=True)
class VotersStatement:
    """Make one with `make`, read one with `decode`, believe it after `follows`."""

    network_id: NetworkId
    who: VoterSet
    body: bytes = field(repr=False)
    signatures: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    chain: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> bytes:
        return fingerprint(self.body)

    @classmethod
    def make(cls, network_id: NetworkId, who: VoterSet) -> VotersStatement:
        """One that nobody has signed yet.

        Raises:
            VotersRefused: these cannot be stated.
            InvalidValue: a name is no peer's id.
        """
        groups = (who.voters, who.outgoing, who.learners, who.staying)
        body = encode(
            {
                1: VERSION,
                2: decode_id(network_id),
                3: who.generation,
                4: who.log_id,
                5: who.index,
                6: [sorted(map(decode_id, group)) for group in groups],
            }
        )
        made = cls.decode(encode([body, [], b""]))
        if made.who != who:
            raise VotersRefused("its names are not in order")
        return made

    def encode(self) -> bytes:
        return encode([self.body, [list(each) for each in self.signatures], self.chain])

    @classmethod
    def decode(cls, raw: bytes) -> VotersStatement:
        """
        Raises:
            VotersRefused: these bytes are none.
        """
        try:
            items = decode(raw, MAX_VOTERS_BYTES, max_items=MAX_SIGNATURES)
            if not isinstance(items, list) or len(items) != 3:
                raise NotCanonical("not a body, signatures and a chain")
            fields = Fields(dict(enumerate(items)))
            body, chain = fields.blob(0, MAX_BODY_BYTES), fields.blob(2, MAX_CHAIN_BYTES)
            network_id, who = _read_body(body)
            signatures = tuple(map(_signature, fields.items(1, MAX_SIGNATURES)))
        except NotCanonical as error:
            raise VotersRefused(str(error)) from error
        keys = [key for key, _ in signatures]
        if keys != sorted(set(keys)):
            raise VotersRefused("its signatures are not sorted, or a key is there twice")
        return cls(network_id, who, body, signatures, chain)

    # -- signing -------------------------------------------------------------------------------

    def signed(self, identity: Identity, chain: bytes = b"") -> VotersStatement:
        """With this signature too; and with the chain that shows what its owner may."""
        own = (identity.public_key, identity.sign(DOMAIN, self.body))
        found = {**dict(self.signatures), own[0]: own[1]}
        return replace(self, signatures=_sorted(found), chain=chain or self.chain)

    def joined(self, other: VotersStatement, names: Collection[PeerId]) -> VotersStatement:
        """With the good signatures of these peers that the other one has, and its chain if ours
        has none. Ourselves when there is nothing new."""
        assert self.body == other.body, "they state the same"
        found = dict(self.signatures)
        for key, signature in other.signatures:
            is_new = key not in found and len(found) < MAX_SIGNATURES and peer_id_of(key) in names
            if is_new and verify_signature(key, DOMAIN, self.body, signature):
                found[key] = signature
        chain = self.chain or other.chain
        if len(found) == len(self.signatures) and chain == self.chain:
            return self
        return replace(self, signatures=_sorted(found), chain=chain)

    def only(self, names: Collection[PeerId]) -> VotersStatement:
        """With the good signatures of these peers alone: nobody's junk is handed on."""
        good = self.signers(names)
        kept = tuple(each for each in self.signatures if peer_id_of(each[0]) in good)
        return replace(self, signatures=kept)

    def claimed(self) -> frozenset[PeerId]:
        """Whose signatures are there, good or not."""
        return frozenset(peer_id_of(key) for key, _ in self.signatures)

    def signers(self, names: Collection[PeerId]) -> frozenset[PeerId]:
        """Which of these have signed it."""
        return frozenset(
            peer_id_of(key)
            for key, signature in self.signatures
            if peer_id_of(key) in names and verify_signature(key, DOMAIN, self.body, signature)
        )

    # -- believing -----------------------------------------------------------------------------

    def follows(
        self, known: VoterSet, trust: Trust, now_ms: int, certified: Certified | None = None
    ) -> bool:
        """Whether who believes in `known` has to believe this: it is later, and enough signed."""
        if self.network_id != trust.network_id or self.who.place <= known.place:
            return False
        signers = self.signers(known.deciders)
        is_fresh = certified is None or any(map(certified, signers))
        if self.who.generation == known.generation:
            return self.who.log_id == known.log_id and known.has_majority(signers) and is_fresh
        return (bool(signers) and is_fresh) or self.is_by_an_administrator(trust, now_ms)

    def administrator(self) -> frozenset[PeerId]:
        """Whose chain it shows, good or not."""
        try:
            return frozenset({Chain.decode(self.chain).leaf.peer_id} if self.chain else ())
        except CertificateRefused:
            return frozenset()

    def is_by_an_administrator(self, trust: Trust, now_ms: int) -> bool:
        """Whether one has signed it whose chain it shows, and which is good now."""
        if not self.chain:
            return False
        try:
            principal = verify(Chain.decode(self.chain), trust, now_ms)
        except CertificateRefused:
            return False
        return principal.may(Permission.RAFT_ADMIN) and bool(self.signers({principal.peer_id}))


def walk_voters(
    known: VoterSet,
    statements: Iterable[VotersStatement],
    trust: Trust,
    now_ms: int,
    certified: Certified | None = None,
) -> tuple[VotersStatement, ...]:
    """The steps from what is known to the latest that can be believed, in order; as few as do.

    Args:
        certified: who is a member now, where what is known is old; None where it is not.
    """
    left = sorted(statements, key=lambda each: each.who.place, reverse=True)
    steps = _walk(known, left, trust, now_ms, certified)
    if certified is not None:
        others = _walk(known, left, trust, now_ms, None)
        if others != steps and others[-1].is_by_an_administrator(trust, now_ms):
            return others
    return steps


def _walk(
    known: VoterSet,
    left: list[VotersStatement],
    trust: Trust,
    now_ms: int,
    certified: Certified | None,
) -> tuple[VotersStatement, ...]:
    steps: list[VotersStatement] = []
    while True:
        follows = (each for each in left if each.follows(known, trust, now_ms, certified))
        step = next(follows, None)
        if step is None:
            return tuple(steps)
        steps.append(step)
        known = step.who


def _read_body(body: bytes) -> tuple[NetworkId, VoterSet]:
    fields = Fields(decode(body, MAX_BODY_BYTES))
    fields.integer(1, VERSION, VERSION)
    network_id = NetworkId(encode_id(fields.binary(2, FINGERPRINT_BYTES)))
    generation = fields.integer(3, 0, 2**31)
    log_id = fields.text(4, LOG_CHARS)
    index = fields.integer(5, 0, MAX_INTEGER)
    groups = tuple(map(_names, fields.items(6, 4)))
    fields.finish()
    if len(log_id) != LOG_CHARS or not log_id.isprintable():
        raise NotCanonical(f"the id of the log has not {LOG_CHARS} characters")
    if len(groups) != 4 or not groups[0]:
        raise NotCanonical("nobody would vote")
    voters, outgoing, learners, staying = groups
    if {*voters, *outgoing} & set(learners) or not set(staying) <= set(outgoing) - set(voters):
        raise NotCanonical("a name is in two groups")
    return network_id, VoterSet(generation, log_id, index, voters, outgoing, learners, staying)


def _names(item: object) -> tuple[PeerId, ...]:
    names = Fields({0: item}).binaries(0, MAX_NAMES, FINGERPRINT_BYTES)
    if list(names) != sorted(set(names)):
        raise NotCanonical("the names of a group are not sorted, or one is there twice")
    return tuple(
        sorted(PeerId(encode_id(name)) for name in names)
    )  # as text, which sorts otherwise


def _signature(item: object) -> tuple[bytes, bytes]:
    if not isinstance(item, list) or len(item) != 2:
        raise NotCanonical("a signature is not a key and a signature")
    fields = Fields(dict(enumerate(item)))
    return fields.binary(0, 32), fields.binary(1, 64)


def _sorted(found: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(sorted(found.items()))
