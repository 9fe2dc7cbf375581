"""The data directory of a node ("home"): its keys, what it belongs to, and who may issue there.

    FORMAT        "conclave-home 1"; written last, so its absence says that creation was cut off
    identity.key  this node's signing key               chain       its certificate up to the root
    issuer.key    on an issuer                          genesis     what the network was made as
    root.key      where the network was made            roster      the first voters, once known
    tickets/      an issuer's tickets                   incarnation the last one given out
    issuer.chain  an issuer's own, if it is not above   roots       the line of roots, if it has
                  this node's certificate                           successors
    revocations/  the lists that were ever in force     lock        held while a node runs

All but FORMAT and the lock is described byte by byte in FORMAT.md. Other parts keep files of their
own beside these.

What this module does not know: sockets, passphrase prompts, default paths, the clock.

Invariants: an incarnation is durable before it is used and never comes twice; the first roster
stored is the only one ever; what `open` returns fits together (key, chain, genesis, issuer).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keys.canonical import MAX_INTEGER
from keys.certificate import Certificate
from keys.errors import (
    CertificateRefused,
    GrantRefused,
    HomeDamaged,
    IssuerKeyMissing,
    MisuseError,
    NotTheIssuer,
    RosterConflict,
    RosterRefused,
)
from keys.files import (
    check_private_directory,
    create_exclusive,
    make_private_directory,
    read_file,
    remove_file,
    write_atomic,
)
from keys.genesis import Genesis
from keys.home import (
    FORMAT_VERSION,
    FOUNDING,
    PENDING,
    RESUMABLE,
    check_fit,
    check_format,
    check_free,
    read_chain,
    read_genesis,
    read_issuer_chain,
    read_key,
    read_roots,
    stored_key,
)
from keys.identity import Identity, PeerId
from keys.join import JoinedNetwork
from keys.lock import locked_home
from keys.names import check_name
from keys.principal import Principal
from keys.rekeying import finish as finish_rekeying
from keys.revocationbook import RevocationBook
from keys.revocations import Revocations
from keys.roster import MAX_ROSTER_BYTES, Roster
from keys.rotation import RootsSeen
from keys.sealed import seal
from keys.trust import (
    SKEW_MS,
    Chain,
    Trust,
    verify,
    verify_line,
)

if TYPE_CHECKING:
    from keys.issuing import Issuer

INCARNATION_STRIDE: Final = 1 << 20

_INCARNATION = re.compile(rb"[0-9]{1,16}\n")


class Keystore:
    """An open home. Get one from `open`, `create_network` or `create_joined`."""

    def __init__(
        self,
        home: Path,
        identity: Identity,
        chain: Chain,
        genesis: Genesis,
        issuer_key: Identity | None,
        issuer_chain: Chain | None = None,
        roots: tuple[Certificate, ...] = (),
    ) -> None:
        self.home = home
        self.identity = identity
        self.chain = chain
        self.genesis = genesis
        seen = RootsSeen(roots, lambda line: write_atomic(home / "roots", line))
        self.revocation_book = RevocationBook(home)
        fresh = Trust(genesis.network_id, seen)
        self.trust = replace(fresh, revocations=self.revocation_book.load(fresh))
        self._issuer_key = issuer_key
        self.issuer: Issuer | None = None
        if issuer_key is not None:
            from keys.issuing import issuer_at  # few nodes are issuers; others need not carry it

            above = issuer_chain or Chain(chain.certificates[1:])
            self.issuer = issuer_at(home, issuer_key, above, genesis, self.trust)

    def __repr__(self) -> str:
        return f"Keystore({str(self.home)!r}, {self.name!r}, {self.identity.peer_id})"

    @property
    def name(self) -> str:
        return self.chain.leaf.name

    @property
    def names_voters(self) -> bool:
        """Whether it is this node that signs the first roster: the issuer that genesis names."""
        key = self._issuer_key
        return key is not None and key.public_key == self.genesis.issuer_public_key

    def principal(self, now_ms: int) -> Principal:
        """Ourselves as others see us.

        Raises:
            CertificateRefused: they would refuse us, usually because our certificate ended.
        """
        return verify(self.chain, self.trust, now_ms)

    def replace_chain(self, chain: Chain) -> None:
        """Keep a renewed certificate, durably: show it after this, not before.

        Raises:
            CertificateRefused: it does not fit this home.
            MisuseError: it is for another key.
        """
        verify(chain, self.trust, chain.leaf.not_before_ms)
        if chain.leaf.public_key != self.identity.public_key:
            raise MisuseError(f"this certificate is for {chain.leaf.peer_id}")
        write_atomic(self.home / "chain", chain.encode())
        self.chain = chain

    def put_in_force(self, revocations: Revocations) -> Trust:
        """Judge by these from now on. They are durable when this returns.

        Raises:
            HomeUnreadable: they could not be kept, and are not in force.
        """
        self.revocation_book.keep(self.trust.revocations, revocations)
        self.trust = replace(self.trust, revocations=revocations)
        if self.issuer is not None:
            self.issuer.trust = self.trust
        return self.trust

    def take_issuer(self, opened: Keystore) -> None:
        """Issue as this home does that was opened anew: it is ours."""
        assert opened.identity.public_key == self.identity.public_key, "it is another home"
        self._issuer_key, self.issuer = opened._issuer_key, opened.issuer
        if self.issuer is not None:
            self.issuer.trust = self.trust

    def lock(self) -> AbstractContextManager[None]:
        """Held by the one process that runs a node here. Reading needs no lock.

        Raises:
            HomeInUse: on entering the `with` block.
        """
        return locked_home(self.home)

    @classmethod
    def create_network(
        cls,
        home: Path,
        network_name: str,
        node_name: str,
        expected_voters: int,
        *,
        passphrase: str | None = None,
        now_ms: int,
    ) -> Keystore:
        """Make a network, with this node as its first member, administrator and only issuer.

        Raises:
            InvalidName, InvalidValue, KeystoreError.
        """
        from keys.issuing import found, note_first

        check_name("node name", node_name)
        root, issuer, own = Identity.generate(), Identity.generate(), Identity.generate()
        names = (network_name, node_name)
        chain, genesis = found(root, issuer, own, names, expected_voters, now_ms)
        keys = {"identity": own, "issuer": issuer, "root": root}
        check_free(home, {PENDING})
        made = cls._create(home, keys, chain, genesis, passphrase)
        assert made.issuer is not None, "it has the key"
        note_first(made.issuer, chain.leaf, now_ms)
        return made

    @classmethod
    def pending_identity(cls, home: Path, passphrase: str | None = None) -> Identity:
        """The key to join with, stored before anybody is asked.

        The same key comes back until `create_joined`, so a join that was cut off at any point can
        be repeated with the same ticket.

        Raises:
            HomeExists: this node is a member already.
            KeystoreError.
        """
        check_free(home, RESUMABLE)
        make_private_directory(home)
        return stored_key(home / PENDING, "identity", passphrase)

    @classmethod
    def create_joined(
        cls,
        home: Path,
        identity: Identity,
        name: str,
        joined: JoinedNetwork,
        *,
        passphrase: str | None = None,
    ) -> Keystore:
        """Keep what `accept_grant` returned.

        Raises:
            GrantRefused: the grant is for another key or another name.
            KeystoreError.
        """
        leaf = joined.chain.leaf
        if leaf.public_key != identity.public_key:
            raise GrantRefused(f"its certificate is for {leaf.peer_id}, we are {identity.peer_id}")
        if leaf.name != name:
            raise GrantRefused(f"its certificate calls us {leaf.name!r}, we are {name!r}")
        check_free(home, RESUMABLE)
        return cls._create(home, {"identity": identity}, joined.chain, joined.genesis, passphrase)

    @classmethod
    def pending_founder(
        cls, home: Path, passphrase: str | None = None
    ) -> tuple[Identity, Identity]:
        """The node's key and the issuer's of a network whose root keys have yet to sign.

        Stored before anything is signed; the same keys come back until `create_founded`.

        Raises:
            HomeExists, KeystoreError.
        """
        check_free(home, FOUNDING)
        make_private_directory(home)
        return (
            stored_key(home / PENDING, "identity", passphrase),
            stored_key(home / "issuer.pending", "issuer", passphrase),
        )

    @classmethod
    def create_founded(
        cls,
        home: Path,
        node_name: str,
        founded: tuple[Certificate, Certificate, Genesis],
        *,
        passphrase: str | None = None,
        now_ms: int,
    ) -> Keystore:
        """Make this node the first member of a network that its root keys have founded.

        Raises:
            InvalidName, InvalidValue, KeystoreError; MisuseError: the founding is another node's.
        """
        from keys.issuing import first_chain, note_first

        top, middle, genesis = founded
        own, issuer = cls.pending_founder(home, passphrase)
        chain = first_chain(issuer, (middle, top), own, node_name, now_ms)
        keystore = cls._create(
            home, {"identity": own, "issuer": issuer}, chain, genesis, passphrase
        )
        assert keystore.issuer is not None, "it has the key"
        note_first(keystore.issuer, chain.leaf, now_ms)
        remove_file(home / "issuer.pending")
        return keystore

    @classmethod
    def _create(
        cls,
        home: Path,
        keys: dict[str, Identity],
        chain: Chain,
        genesis: Genesis,
        passphrase: str | None,
    ) -> Keystore:
        sealed = {
            purpose: seal(purpose, key.export_secret(), passphrase) for purpose, key in keys.items()
        }
        make_private_directory(home)
        make_private_directory(home / "tickets")
        for purpose, data in sealed.items():
            write_atomic(home / f"{purpose}.key", data)
        write_atomic(home / "chain", chain.encode())
        write_atomic(home / "genesis", genesis.raw)
        write_atomic(home / "incarnation", b"0\n")
        write_atomic(home / "FORMAT", b"conclave-home %d\n" % FORMAT_VERSION)
        return cls(home, keys["identity"], chain, genesis, keys.get("issuer"))

    @classmethod
    def open(cls, home: Path, passphrase: str | None = None) -> Keystore:
        """
        Raises:
            NoNetworkYet: there is nothing here yet.
            KeystoreError: it is not usable, and why.
        """
        check_format(home)
        check_private_directory(home)
        finish_rekeying(home)
        chain, genesis = read_chain(home), read_genesis(home)
        identity = read_key(home, "identity", passphrase)
        if identity is None:
            raise HomeDamaged(home / "identity.key", "it is missing")
        check_fit(home, identity, chain, genesis)
        issuer_key = read_key(home, "issuer", passphrase)
        issuer_chain = read_issuer_chain(home) if issuer_key is not None else None
        if issuer_key is not None:
            issuing = issuer_chain.leaf if issuer_chain else chain.certificates[1]
            if issuer_key.public_key != issuing.public_key:
                raise IssuerKeyMissing(home / "issuer.key")
            make_private_directory(home / "tickets")
        roots = read_roots(home, Trust(genesis.network_id))
        keystore = cls(home, identity, chain, genesis, issuer_key, issuer_chain, roots)
        keystore._learn_own()
        return keystore

    def _learn_own(self) -> None:
        """Remember the roots of our own chains, for when those chains are replaced."""
        seen = self.trust.seen
        assert seen is not None
        for chain in (self.chain, self.issuer.chain if self.issuer is not None else self.chain):
            try:
                verify_line(chain.roots, self.trust)
                seen.judge(chain.roots, 0, SKEW_MS)
            except CertificateRefused:
                continue  # whoever asks for our principal is told
            seen.learn(chain.roots)

    def next_incarnation(self, now_ms: int = 0) -> int:
        """A number greater than every one given out before. Durable before it returns.

        The next `INCARNATION_STRIDE - 1` numbers after it are the caller's as well, for the
        sequence of this start's transport records. With `now_ms` it is not below the clock, so
        that a home restored from a backup does not speak with numbers that peers have seen.
        Call it with the lock held.
        """
        path = self.home / "incarnation"
        data = read_file(path, 64)
        if data is None or not _INCARNATION.fullmatch(data):
            raise HomeDamaged(path, "it does not hold a number" if data is not None else "missing")
        incarnation = max(int(data) + INCARNATION_STRIDE, now_ms)
        if incarnation + INCARNATION_STRIDE > MAX_INTEGER:
            raise HomeDamaged(path, f"{incarnation} is beyond any number that we gave out")
        write_atomic(path, b"%d\n" % incarnation)
        return incarnation

    def load_roster(self) -> Roster | None:
        """The first voters, if this node has been told.

        Raises:
            HomeDamaged: it is not a roster of this network.
        """
        path = self.home / "roster"
        data = read_file(path, MAX_ROSTER_BYTES)
        if data is None:
            return None
        try:
            roster = Roster.decode(data)
            roster.verify(self.genesis)
        except RosterRefused as error:
            raise HomeDamaged(path, str(error)) from error
        return roster

    def save_roster(self, roster: Roster) -> None:
        """Keep the first roster, durably. The same one again is no change.

        Raises:
            RosterRefused: it is not a roster of this network.
            RosterConflict: another one was stored first.
        """
        roster.verify(self.genesis)
        if create_exclusive(self.home / "roster", roster.raw):
            return
        stored = self.load_roster()
        assert stored is not None
        if stored.raw != roster.raw:
            raise RosterConflict(
                self.home / "roster", ", ".join(stored.voters), ", ".join(roster.voters)
            )

    def sign_roster(self, voters: Iterable[PeerId], now_ms: int) -> Roster:
        """Name the first voters: signed and stored before anyone can be told.

        Asked again for the same voters it returns the stored one.

        Raises:
            NotTheIssuer, InvalidValue, RosterConflict.
        """
        if self._issuer_key is None:
            raise NotTheIssuer("signing the first voter roster")
        stored = self.load_roster()
        names = tuple(sorted(voters))
        if stored is not None and stored.voters == names:
            return stored
        roster = Roster.make(self._issuer_key, self.genesis, names, now_ms)
        self.save_roster(roster)
        return roster
