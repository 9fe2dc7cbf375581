"""Whether the papers of the other side make it a member that we take in.

One ordered list, the same for both sides; the first check that fails names the refusal:

    1. the network id in the hello is ours         WRONG_NETWORK (before any paper is looked at)
    2. the chain decodes and verifies              CERTIFICATE, or WRONG_NETWORK
    3. the record decodes and verifies against it  RECORD
    4. it is not us                                OURSELVES, TWIN
    5. it is whom we asked for                     OTHER_PEER (dialer only, when it asked)
    6. the session table has no objection          STALE_RECORD, CONFLICTING_RECORD, KEY_TAKEN
    7. it signed this very conversation            BAD_PROOF (a hello of the door: at its welcome)
    8. it holds the CURVE key of its record        BAD_PROOF

Papers are public: whoever met a peer has them. Only the proofs make them that peer's: a signature
by the key of the certificate, and a tag that only the holder of the CURVE key in the record and we
can make. Without the tag a member could name another's CURVE key as its own.

What this module does not know: frames, states, sockets, the order of messages.
"""

from __future__ import annotations

import hashlib
import sys

from keys import (
    CertificateRefused,
    CertificateRevoked,
    Chain,
    ListInForce,
    NetworkId,
    PeerId,
    Principal,
    RecordRefused,
    TransportKey,
    TransportRecord,
    Trust,
    decode_record,
    revoked_by,
    verify,
    verify_record,
    verify_signature,
)
from p2p.admission.credentials import Credentials
from p2p.admission.refusals import Objection, RefusalCode
from p2p.admission.sessions import Session, SessionTable
from p2p.admission.shown import ShownChain

# Signature domains. Two, so that what a door signed can never serve a dialer, nor the reverse.
DIALER_DOMAIN = "introduction"
DOOR_DOMAIN = "welcome"

_OBJECTIONS = {
    RefusalCode.STALE_RECORD: (
        "a newer record of this peer is known; if its data directory was restored from a backup, "
        "it is taken again when the newer record has ended, or the peer gets a new identity"
    ),
    RefusalCode.CONFLICTING_RECORD: (
        "another record with the same sequence number is known; two processes use one identity"
    ),
    RefusalCode.KEY_TAKEN: (
        "its transport key belongs to another peer; restart it to make a new one"
    ),
}


class Revoked(Objection):
    """A certificate of this network that was taken back, and the list that says so."""

    def __init__(self, text: str, chain: Chain, listed: ListInForce) -> None:
        super().__init__(RefusalCode.CERTIFICATE, text)
        self.chain = chain
        self.listed = listed


class Transcript:
    """The bodies of a conversation so far, each with who said it, as one running hash."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(b"conclave/transcript/v1\0", digest_size=32)

    def add(self, body: bytes, *, from_door: bool) -> None:
        self._hash.update(b"D" if from_door else b"C")
        self._hash.update(len(body).to_bytes(4, "big"))
        self._hash.update(body)

    def digest(self) -> bytes:
        return self._hash.digest()

    def digest_with(self, *parts: bytes) -> bytes:
        """The digest as if these parts of a message, not yet whole, had been said too."""
        ahead = self._hash.copy()
        for part in parts:
            ahead.update(len(part).to_bytes(4, "big"))
            ahead.update(part)
        return ahead.digest()


def same_network(theirs: str, ours: NetworkId) -> None:
    if theirs != ours:
        raise Objection(RefusalCode.WRONG_NETWORK, "this node belongs to another network")


def papers(
    chain: bytes, record: bytes, trust: Trust, now_ms: int
) -> tuple[Principal, TransportRecord]:
    """The member that these papers name, and where it says it is.

    Raises:
        Objection: CERTIFICATE, WRONG_NETWORK or RECORD, with the reason in words; `Revoked`.
    """
    try:
        principal = verify(Chain.decode(chain), trust, now_ms)
    except CertificateRevoked as error:
        shown_chain = Chain.decode(chain)
        listed = revoked_by(shown_chain, trust)
        assert listed is not None, "a list has refused it"
        raise Revoked(str(error), shown_chain, listed) from error
    except CertificateRefused as error:
        foreign = error.code == "wrong-network"
        code = RefusalCode.WRONG_NETWORK if foreign else RefusalCode.CERTIFICATE
        raise Objection(code, str(error)) from error
    try:
        shown = decode_record(record)
        verify_record(shown, principal, now_ms)
    except RecordRefused as error:
        raise Objection(RefusalCode.RECORD, str(error)) from error
    assert shown.peer_id == principal.peer_id, "verify_record binds the two"
    return principal, shown


def session_of(
    chain: bytes,
    record: bytes,
    credentials: Credentials,
    sessions: SessionTable,
    now_ms: int,
    *,
    observed_host: str | None,
    dialled: bool,
    expected: PeerId | None = None,
) -> Session:
    """The session that these papers would make. Whether they are its bearer's is not checked here.

    Raises:
        Objection: the first of checks 2 to 6 that fails.
    """
    principal, shown = papers(chain, record, credentials.trust, now_ms)
    if principal.peer_id == credentials.peer_id:
        raise _ourselves(shown, credentials)
    if expected is not None and principal.peer_id != expected:
        raise Objection(
            RefusalCode.OTHER_PEER, f"{principal.peer_id} is here, {expected} was asked for"
        )
    no_objection(shown, sessions)
    known = sessions.get(shown.peer_id)
    if known is not None and known.record.raw == shown.raw and not dialled:
        return known  # what is known of its addresses may come from dialling: better than this
    hosts = _hosts(shown, observed_host, dialled=dialled)
    return Session(principal, shown, hosts, shown=ShownChain.of(chain))


def no_objection(record: TransportRecord, sessions: SessionTable) -> None:
    """Check 6.

    Raises:
        Objection: STALE_RECORD, CONFLICTING_RECORD or KEY_TAKEN.
    """
    objection = sessions.objection(record)
    if objection is not None:
        raise Objection(objection, _OBJECTIONS[objection])


def signed_by(session: Session, domain: str, digest: bytes, proof: bytes) -> None:
    """Check 7.

    Raises:
        Objection: BAD_PROOF.
    """
    if not verify_signature(session.principal.public_key, domain, digest, proof):
        raise Objection(
            RefusalCode.BAD_PROOF, f"this is not {session.peer_id}: it does not hold that key"
        )


def tag_for(session_key: bytes, own: TransportKey, domain: str, digest: bytes) -> bytes:
    """Our own proof of check 8, for the holder of that key.

    Raises:
        Objection: nothing can be proved to that key.
    """
    tag = own.tag(session_key, domain, digest)
    if tag is None:
        raise Objection(RefusalCode.BAD_PROOF, "the transport key in its record is no good key")
    return tag


def held_by(session: Session, own: TransportKey, domain: str, digest: bytes, tag: bytes) -> None:
    """Check 8.

    Raises:
        Objection: BAD_PROOF.
    """
    if not own.verify_tag(session.curve_public, domain, digest, tag):
        raise Objection(
            RefusalCode.BAD_PROOF,
            f"{session.peer_id} does not hold the transport key that its record names",
        )


def _ourselves(shown: TransportRecord, credentials: Credentials) -> Objection:
    if any(shown.curve_public == key.public for key in credentials.transport_keys()):
        return Objection(RefusalCode.OURSELVES, "this is our own door")
    return Objection(
        RefusalCode.TWIN,
        "another process uses the identity of this node: the data directory was copied; "
        "stop one of the two, and let its machine join with a ticket of its own",
    )


def _hosts(shown: TransportRecord, observed: str | None, *, dialled: bool) -> tuple[str, ...]:
    """Best first. A host that we reached is the best. One that reached us may be the near side of
    a translation, so it comes first only if the peer says itself that it is there."""
    if observed is None:
        return shown.hosts
    others = tuple(host for host in shown.hosts if host != observed)
    is_best = dialled or observed in shown.hosts
    hosts = (observed, *others) if is_best else (*others, observed)
    return shown.hosts if hosts == shown.hosts else tuple(map(sys.intern, hosts))
