"""Papers that root keys sign offline: a new issuer, another root, the founding with several keys.

A paper is carried from hand to hand. It holds what is to be signed (drafts) and the signatures so
far; each custodian reads in words what it says, adds a signature and hands it on, in any order.
When enough have signed, the parts are put together and verified like anything that a peer shows.

    issuing   a node's request -> the certificate of its issuer's key, drafted at the first signing
    rotation  the certificate of the root's successor; old root and new root both sign
    founding  root and issuer certificate and genesis of a network whose root is a quorum
    roots     no drafts: the line of roots, to be carried to where it is needed

Nothing of a draft is taken on trust: it is made again from what may vary in it (names, keys,
rights, dates, serial) and has to be the same bytes. So a paper can hide nothing from its words.

What this module does not know: files, passphrases, terminals, clocks.

Invariant: a paper that was decoded holds sound drafts and valid signatures only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.ceremonies.drafts import (
    founding_drafts,
    issuer_draft,
    recheck_founding,
    recheck_issuer,
    recheck_successor,
    successor_draft,
    unsigned,
    unsigned_genesis,
)
from keys.ceremonies.refusals import (
    CeremonyIncomplete,
    CeremonyMalformed,
    CeremonyOther,
    NotACustodian,
)
from keys.ceremonies.request import MAX_REQUEST_BYTES, IssuerRequest
from keys.certificate import (
    DOMAIN,
    Certificate,
    assemble_certificate,
    both_signed,
)
from keys.errors import InvalidValue, KeysError
from keys.genesis import DOMAIN as GENESIS_DOMAIN
from keys.genesis import Genesis
from keys.identity import KEY_BYTES, SIGNATURE_BYTES, Identity, verify_signature
from keys.names import within
from keys.roles import Role, role_words
from keys.rootquorum import MAX_CUSTODIANS, Authority, RootQuorum, custodian_text
from keys.rotation import MAX_LINE_BYTES, decode_line, encode_line
from keys.trust import Chain, Trust, verify_issuer, verify_line

VERSION: Final = 1
MAX_PAPER_BYTES: Final = 12_288
MAX_PAPER_CHARS: Final = 2 * MAX_PAPER_BYTES
HEADING: Final = "conclave paper 1: "

_MAX_DRAFTS: Final = 3
_MAX_SIGNERS: Final = 2 * MAX_CUSTODIANS


class Purpose(IntEnum):
    ROOTS = 0
    ISSUING = 1
    ROTATION = 2
    FOUNDING = 3


@dataclass(frozen=True, slots=True)
class Paper:
    """Read one with `parse`; `str` of it is what is carried."""

    purpose: Purpose
    line: tuple[Certificate, ...]  # the roots that are, newest first; none at a founding
    request: IssuerRequest | None
    node_name: str  # of the founding node
    drafts: tuple[bytes, ...]  # bodies
    signatures: tuple[tuple[bytes, tuple[bytes, ...]], ...]  # by public key: one for each draft

    @classmethod
    def of_roots(cls, line: tuple[Certificate, ...]) -> Paper:
        return cls(Purpose.ROOTS, line, None, "", (), ())

    @classmethod
    def issuing(cls, request: IssuerRequest, line: tuple[Certificate, ...]) -> Paper:
        return cls(Purpose.ISSUING, line, request, "", (), ())

    @classmethod
    def rotation(
        cls, line: tuple[Certificate, ...], new: Authority, grace_ms: int, now_ms: int
    ) -> Paper:
        """
        Raises:
            InvalidValue: there can be no further successor, or not this one.
        """
        body = successor_draft(line, new, grace_ms, now_ms)
        return cls(Purpose.ROTATION, line, None, "", (body,), ())

    @classmethod
    def founding(
        cls,
        quorum: RootQuorum,
        network_name: str,
        node_name: str,
        issuer_public_key: bytes,
        expected_voters: int,
        now_ms: int,
    ) -> Paper:
        """
        Raises:
            InvalidName, InvalidValue.
        """
        drafts = founding_drafts(
            Authority.of(quorum),
            network_name,
            node_name,
            issuer_public_key,
            expected_voters,
            now_ms,
        )
        return cls(Purpose.FOUNDING, (), None, node_name, drafts, ())

    def drafted(
        self,
        now_ms: int,
        *,
        roles: Role | None = None,
        namespaces: Iterable[str] | None = None,
        days: int | None = None,
        line: tuple[Certificate, ...] | None = None,
    ) -> Paper:
        """With a draft of what the request asks for, or of less, under the newest root known.

        Raises:
            CeremonyOther: no request, or drafted already.
            InvalidValue: more than was asked for, or than the root may give.
        """
        if self.request is None or self.drafts:
            raise CeremonyOther(self.describe(), "a request that nobody has signed")
        wish = self.request
        given = wish.roles if roles is None else roles
        spaces = tuple(sorted(wish.namespaces if namespaces is None else namespaces))
        if given & ~wish.roles:
            raise InvalidValue("roles", f"the request asks only for {role_words(wish.roles)}")
        if not all(within(each, wish.namespaces) for each in spaces):
            raise InvalidValue("namespaces", f"the request asks only for {_list(wish.namespaces)}")
        if days is not None and days > wish.days:
            raise InvalidValue("days", f"the request asks only for {wish.days}")
        under = self.line if line is None else line
        if under[-1].network_id != wish.network_id:
            raise InvalidValue("the roots", "are of another network than the request")
        body = issuer_draft(wish, under[0], given, spaces, days or wish.days, now_ms)
        return replace(self, line=under, drafts=(body,))

    @property
    def parties(self) -> tuple[Authority, ...]:
        """Who has to sign: the old root before the new one."""
        match self.purpose:
            case Purpose.ISSUING:
                return (self.line[0].authority,)
            case Purpose.ROTATION:
                return (self.line[0].authority, unsigned(self.drafts[0]).authority)
            case Purpose.FOUNDING:
                return (unsigned(self.drafts[0]).authority,)
            case _:
                return ()

    @property
    def missing(self) -> str | None:
        """Whose signatures are still needed, in words; None when there are enough."""
        if self.purpose is Purpose.ISSUING and not self.drafts:
            return _count(self.parties[0].threshold)
        signed = {key for key, _ in self.signatures}
        words = []
        names = ("the old root", "the new root") if len(self.parties) > 1 else ("the root",)
        for party, name in zip(self.parties, names, strict=False):
            left = party.threshold - len(signed & set(party.signers))
            if left > 0:
                words.append(f"{_count(left)} of {name}")
        return " and ".join(words) or None

    def sign(self, key: Identity) -> Paper:
        """With this key's signatures; the same paper if it has them already.

        Raises:
            NotACustodian: the key belongs to none of those who have to sign.
            CeremonyOther: there is nothing to be signed.
        """
        if not self.drafts:
            raise CeremonyOther(self.describe(), "drafted, and to be signed")
        signers = {each for party in self.parties for each in party.signers}
        if key.public_key not in signers:
            known = ", ".join(custodian_text(each) for each in sorted(signers))
            raise NotACustodian(custodian_text(key.public_key), known)
        made = tuple(
            key.sign(domain, body)
            for domain, body in zip(self._domains(), self.drafts, strict=True)
        )
        return replace(
            self, signatures=tuple(sorted({**dict(self.signatures), key.public_key: made}.items()))
        )

    def roots(self) -> tuple[Certificate, ...]:
        """The line of roots that this paper proves, its own rotation included.

        Raises:
            CeremonyIncomplete: the rotation still needs signatures.
            CeremonyOther: it is a founding.
        """
        if self.purpose is Purpose.FOUNDING:
            raise CeremonyOther(self.describe(), "of a network that there is")
        if self.purpose is not Purpose.ROTATION:
            return self.line
        by_old, by_new = self._joined(0)
        new = assemble_certificate(self.drafts[0], both_signed(by_old, by_new))
        return _verified((new, *self.line))

    def issuer_chain(self, now_ms: int) -> Chain:
        """The issuer's certificate and the roots above it.

        Raises:
            CeremonyIncomplete, CeremonyOther.
            CertificateRefused: it is not valid now.
        """
        if self.purpose is not Purpose.ISSUING:
            raise CeremonyOther(self.describe(), "an issuer's")
        if not self.drafts:
            raise CeremonyIncomplete(str(self.missing))
        (signature,) = self._joined(0)
        chain = Chain((assemble_certificate(self.drafts[0], signature), *self.line))
        verify_issuer(chain, Trust(self.line[-1].network_id), now_ms)
        return chain

    def founded(self) -> tuple[Certificate, Certificate, Genesis]:
        """The root's certificate, the issuer's, and genesis.

        Raises:
            CeremonyIncomplete, CeremonyOther.
        """
        if self.purpose is not Purpose.FOUNDING:
            raise CeremonyOther(self.describe(), "of a founding")
        signatures = [self._joined(at)[0] for at in range(len(self.drafts))]
        top = assemble_certificate(self.drafts[0], signatures[0])
        middle = assemble_certificate(self.drafts[1], signatures[1])
        genesis = Genesis.assemble(self.drafts[2], signatures[2])
        trust = Trust(top.network_id)
        verify_issuer(Chain((middle, top)), trust, middle.not_before_ms)
        genesis.verify(trust)
        return top, middle, genesis

    def describe(self) -> str:
        """What it is, in a few words."""
        match self.purpose:
            case Purpose.ROOTS:
                return "a list of roots"
            case Purpose.ISSUING:
                return "the certificate of an issuer" if self.drafts else "a request of an issuer"
            case Purpose.ROTATION:
                return "a rotation of the root"
            case Purpose.FOUNDING:
                return "the founding of a network"

    def draft_certificate(self, at: int) -> Certificate:
        """What a draft says; its signature is none."""
        return unsigned(self.drafts[at])

    def draft_genesis(self) -> Genesis:
        """What the last draft of a founding says."""
        return unsigned_genesis(self.drafts[-1])

    def _domains(self) -> tuple[str, ...]:
        return (DOMAIN, DOMAIN, GENESIS_DOMAIN)[: len(self.drafts)]

    def _joined(self, at: int) -> list[bytes]:
        """Of each party its signature under draft `at`."""
        if self.missing is not None:
            raise CeremonyIncomplete(self.missing)
        by_key = {key: made[at] for key, made in self.signatures}
        joined = [party.joined(by_key) for party in self.parties]
        assert None not in joined, "nothing is missing"
        return [each for each in joined if each is not None]

    # -- as it is carried --------------------------------------------------------------------------

    def encode(self) -> bytes:
        return encode(
            {
                1: VERSION,
                2: int(self.purpose),
                3: encode_line(self.line),
                4: self.request.raw if self.request is not None else b"",
                5: self.node_name,
                6: list(self.drafts),
                7: [[key, list(made)] for key, made in self.signatures],
            }
        )

    def __str__(self) -> str:
        text = base64.b64encode(self.encode()).decode()
        lines = [text[at : at + 76] for at in range(0, len(text), 76)]
        return "\n".join([HEADING + self.describe(), *lines]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Paper:
        """
        Raises:
            CeremonyMalformed: cut off, changed, forged, or something else.
        """
        if len(text) > MAX_PAPER_CHARS:
            raise CeremonyMalformed("it is too long")
        heading, _, rest = text.strip().partition("\n")
        if not heading.startswith(HEADING):
            raise CeremonyMalformed(f"it does not begin with {HEADING.strip()!r}")
        try:
            data = base64.b64decode("".join(rest.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise CeremonyMalformed("a character of it is wrong or missing") from error
        return cls.decode(data)

    @classmethod
    def decode(cls, data: bytes) -> Paper:
        """
        Raises:
            CeremonyMalformed
        """
        try:
            paper = _read(data)
            _check(paper)
        except (NotCanonical, KeysError) as error:
            if isinstance(error, CeremonyMalformed):
                raise
            raise CeremonyMalformed(str(error)) from error
        return paper


def _read(data: bytes) -> Paper:
    fields = Fields(decode(data, MAX_PAPER_BYTES))
    fields.integer(1, VERSION, VERSION)
    purpose = Purpose(fields.integer(2, min(Purpose), max(Purpose)))
    line = fields.blob(3, MAX_LINE_BYTES)
    request = fields.blob(4, MAX_REQUEST_BYTES)
    paper = Paper(
        purpose=purpose,
        line=decode_line(line) if purpose is not Purpose.FOUNDING else (),
        request=IssuerRequest.decode(request) if purpose is Purpose.ISSUING else None,
        node_name=fields.text(5, 63),
        drafts=tuple(_blobs(fields.items(6, _MAX_DRAFTS))),
        signatures=tuple(_signature(each) for each in fields.items(7, _MAX_SIGNERS)),
    )
    fields.finish()
    if paper.encode() != data:
        raise NotCanonical("a field has no place in it")
    return paper


def _blobs(items: list[object]) -> list[bytes]:
    if not all(type(item) is bytes for item in items):
        raise NotCanonical("a draft is not bytes")
    return [item for item in items if isinstance(item, bytes)]


def _signature(item: object) -> tuple[bytes, tuple[bytes, ...]]:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], list):
        raise NotCanonical("a signature is not a key and what it made")
    made = tuple(_blobs(item[1]))
    if type(item[0]) is not bytes or len(item[0]) != KEY_BYTES:
        raise NotCanonical("a signature's key is not a key")
    if not made or any(len(each) != SIGNATURE_BYTES for each in made):
        raise NotCanonical("a signature has another length")
    return item[0], made


def _check(paper: Paper) -> None:
    """Whether everything in it holds, whoever made it."""
    if paper.purpose is not Purpose.FOUNDING:
        verify_line(paper.line, Trust(paper.line[-1].network_id))
    match paper.purpose:
        case Purpose.ROOTS:
            _expect(not paper.drafts, "it has drafts")
        case Purpose.ISSUING:
            assert paper.request is not None
            _expect(paper.request.network_id == paper.line[-1].network_id, "it is of two networks")
            _expect(len(paper.drafts) <= 1, "it has too many drafts")
            for body in paper.drafts:
                recheck_issuer(body, paper.line[0], paper.request)
        case Purpose.ROTATION:
            _expect(len(paper.drafts) == 1, "it has not one draft")
            recheck_successor(paper.drafts[0], paper.line)
        case Purpose.FOUNDING:
            _expect(len(paper.drafts) == _MAX_DRAFTS, "it has not three drafts")
            recheck_founding(paper.drafts, paper.node_name)
    _expect(bool(paper.node_name) == (paper.purpose is Purpose.FOUNDING), "its node's name")
    signers = {each for party in paper.parties for each in party.signers}
    keys = [key for key, _ in paper.signatures]
    _expect(keys == sorted(set(keys)) and set(keys) <= signers, "a signer has no place in it")
    for key, made in paper.signatures:
        _expect(len(made) == len(paper.drafts), "a signature is missing")
        for domain, body, signature in zip(paper._domains(), paper.drafts, made, strict=True):
            _expect(verify_signature(key, domain, body, signature), "a signature is wrong")


def _expect(holds: bool, problem: str) -> None:
    if not holds:
        raise CeremonyMalformed(problem)


def _verified(line: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
    verify_line(line, Trust(line[-1].network_id))
    return line


def _count(number: int) -> str:
    return f"{number} signature" + ("s" if number != 1 else "")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
