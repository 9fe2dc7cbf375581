"""Our own papers while we run: certificate, trust, and the transport record that says where we are.

All three may change without a restart: a certificate is renewed, trust learns of a revocation,
a record is made anew when it grows old or when what it says changes. Whoever shows or checks
papers asks here each time, so that no conversation mixes the old with the new.

What this module does not know: who hands out certificates, how news spreads, sockets, disks: what
must outlast us is written down before it is adopted here.

Invariants: the record names the certificate that is shown with it, and the first of our CURVE keys;
its sequence only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keys import (
    Chain,
    Identity,
    PeerId,
    Principal,
    Revocations,
    TransportKey,
    TransportRecord,
    Trust,
    verify,
)
from p2p.admission import SEQUENCES_PER_START, Credentials
from p2p.clock import Clock
from p2p.errors import MisuseError

if TYPE_CHECKING:
    from keys.issuing import Issuer

RECORD_EVERY_MS = 8 * 3_600_000


@dataclass(frozen=True, slots=True)
class Papers:
    """What makes a process a member.

    Attributes:
        incarnation: a number of the keystore, for this start; the following 2^20 - 1 are ours too.
        issuer: redeems tickets at our door, where this node has an issuer's key.
        keep: writes down what is revoked from now on, durably, and returns what to judge by;
            without it a restart forgets.
    """

    identity: Identity
    chain: Chain
    trust: Trust
    name: str
    incarnation: int
    issuer: Issuer | None = None
    keep: Callable[[Revocations], Trust] | None = None


class OwnPapers:
    """Ours, as they are now.

    Args:
        hosts: the addresses to tell others, best first.
        key: that others find us under, until it is changed.

    Raises:
        CertificateRefused: others would refuse us.
    """

    def __init__(
        self,
        papers: Papers,
        clock: Clock,
        hosts: Callable[[], Sequence[str]],
        key: TransportKey,
    ) -> None:
        self._clock = clock
        self._hosts = hosts
        self._keep = papers.keep
        self.principal: Principal = verify(papers.chain, papers.trust, clock.wall_ms())
        self.incarnation = -(-papers.incarnation // SEQUENCES_PER_START) * SEQUENCES_PER_START
        self._record: TransportRecord | None = None
        self._keys: tuple[TransportKey, ...] = (key,)
        self._made_ms = 0
        self.credentials = Credentials(
            papers.identity,
            papers.chain,
            papers.trust,
            papers.name,
            self.record,
            self.keys,
            clock.wall_ms,
        )

    @property
    def peer_id(self) -> PeerId:
        return self.credentials.peer_id

    @property
    def chain(self) -> Chain:
        return self.credentials.chain

    @property
    def trust(self) -> Trust:
        return self.credentials.trust

    def record(self) -> TransportRecord:
        """Return the record that is current."""
        assert self._record is not None, "the door opened before the record was made"
        return self._record

    def keys(self) -> tuple[TransportKey, ...]:
        """Return our CURVE keys: the one in the record, and one that is being given up."""
        return self._keys

    def forget_old_key(self) -> None:
        """Nobody reaches us under the former key any more."""
        self._keys = self._keys[:1]

    @property
    def ports(self) -> Mapping[str, int]:
        """Where others find us, as the record says; empty before there is one."""
        return self._record.ports if self._record is not None else {}

    @property
    def is_record_old(self) -> bool:
        """Whether it is time for a new one, long before the old one ends."""
        return self._clock.now_ms() - self._made_ms >= RECORD_EVERY_MS

    def make_record(
        self, key: TransportKey | None = None, ports: Mapping[str, int] | None = None
    ) -> TransportRecord:
        """Sign where we are now, and under which key; what is not given stays as it was.

        Raises:
            InvalidValue: a field is out of its bounds.
        """
        before = self._record
        keys = self._keys if key is None else (key, self._keys[0])
        if before is not None:
            ports = ports or before.ports
        assert ports is not None, "the first record needs ports"
        self._made_ms = self._clock.now_ms()
        self._record = TransportRecord.make(
            self.credentials.identity,
            self.chain,
            sequence=self.incarnation if before is None else before.sequence + 1,
            curve_public=keys[0].public,
            hosts=self._hosts() or (before.hosts if before is not None else ()),
            ports=ports,
            now_ms=self._clock.wall_ms(),
        )
        self._keys = keys
        return self._record

    def adopt_chain(self, chain: Chain) -> Principal:
        """Show these certificates from now on, and make the record that names them.

        Raises:
            CertificateRefused: others would refuse us with them.
            MisuseError: they are another peer's.
        """
        principal = verify(chain, self.trust, self._clock.wall_ms())
        if principal.peer_id != self.peer_id:
            raise MisuseError(f"these certificates are of {principal.peer_id}, not ours")
        self.principal = principal
        self.credentials.chain = chain
        if self._record is not None:
            self.make_record()
        return principal

    def keep(self, revocations: Revocations) -> Trust:
        """Write down what is revoked, and return the trust to adopt next.

        Raises:
            KeystoreError: it is not written, and must not be adopted.
        """
        if self._keep is not None:
            return self._keep(revocations)
        return replace(self.trust, revocations=revocations)

    def adopt_trust(self, trust: Trust) -> None:
        """Judge everybody by this from now on. Sessions that began before are the caller's.

        Raises:
            MisuseError: it is about another network.
        """
        if trust.network_id != self.trust.network_id:
            raise MisuseError("this trust is in another network")
        self.credentials.trust = trust
