"""Key files, papers of ceremonies, and what people read of them before they sign.

What this module does not know: which command wants them.
"""

from __future__ import annotations

import datetime
import getpass
import os
import stat
import sys
from pathlib import Path

from agents.errors import BadSettings
from agents.passphrases import passphrase
from keys import Authority, Certificate, Genesis, Identity, custodian_text, peer_id_of, role_words
from keys.ceremonies import MAX_PAPER_CHARS, Paper, Purpose, read_key_file, write_key_file

ROOT = "root"


def read_paper(path: str) -> Paper:
    """Return the paper in a file; - is standard input.

    Raises:
        CeremonyMalformed: it is none.
    """
    if path == "-":
        return Paper.parse(sys.stdin.read(MAX_PAPER_CHARS + 1))
    with Path(path).expanduser().open(encoding="utf-8", errors="replace") as file:
        return Paper.parse(file.read(MAX_PAPER_CHARS + 1))


def write_paper(path: Path, paper: Paper, *, is_new: bool = False) -> None:
    """Write it whole or not at all; a paper holds no secret.

    Raises:
        OSError: also when a new one would overwrite something.
    """
    if is_new:
        with path.open("x", encoding="utf-8") as file:
            file.write(str(paper))
        return
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(str(paper), encoding="utf-8")
        beside.chmod(mode)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def open_root_key(path: str) -> Identity:
    """Return a custodian's key; asks for its passphrase if there is somebody to ask.

    Raises:
        KeystoreError: no such key, or it cannot be opened.
    """
    place, given = Path(path).expanduser(), passphrase()
    if given is None and sys.stdin.isatty() and is_sealed(place):
        given = getpass.getpass(f"Passphrase of {place}: ")
    return read_key_file(place, ROOT, given)


def make_root_key(path: str, *, is_open: bool) -> Identity:
    """Make a custodian's key and keep it, sealed unless it is said to be open.

    Raises:
        BadSettings: nobody gave a passphrase.
        InvalidValue: there is a file already.
    """
    key = Identity.generate()
    write_key_file(Path(path).expanduser(), ROOT, key, None if is_open else _new_passphrase())
    return key


def is_sealed(path: Path) -> bool:
    """Tell whether a key file needs a passphrase; what is no such file says so when it is read."""
    try:
        return b"argon2id" in path.read_bytes()[:64]
    except OSError:
        return False


def _new_passphrase() -> str:
    given = passphrase()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise BadSettings(
            "a root key is sealed with a passphrase: name a file that holds it in "
            "CONCLAVE_PASSPHRASE_FILE, or say --no-passphrase"
        )
    first = getpass.getpass("Passphrase of the new key: ")
    if first != getpass.getpass("Once more: "):
        raise BadSettings("the two passphrases differ; nothing was made")
    return first


# -- in words --------------------------------------------------------------------------------------


def words_of(paper: Paper) -> list[str]:
    """Return what a paper says, a line each: everything that signing it would sign."""
    lines = [f"This paper is {paper.describe()}."]
    lines += [
        *(_issuing(paper) if paper.purpose is Purpose.ISSUING else ()),
        *(_rotation(paper) if paper.purpose is Purpose.ROTATION else ()),
        *(_founding(paper) if paper.purpose is Purpose.FOUNDING else ()),
    ]
    if paper.line:
        root = paper.line[0]
        lines.append(f"  network     {root.network_name} ({root.network_id})")
        lines.append(f"  its root    {root_words(root)}")
    for number, party in enumerate(paper.parties):
        name = ("old root", "new root")[number] if len(paper.parties) > 1 else "signed by"
        signed = {key for key, _ in paper.signatures}
        marks = [f"{custodian_text(k)}{' (signed)' if k in signed else ''}" for k in party.signers]
        need = f"{party.threshold} of " if party.quorum is not None else ""
        lines += [f"  {name:<11} {need}{marks[0]}", *(f"              {m}" for m in marks[1:])]
    lines.append(f"It needs {paper.missing}." if paper.missing else _next(paper))
    return lines


def root_words(root: Certificate) -> str:
    """Return a root in words: its place, its keys, until when it is valid."""
    number = root.rotation.number if root.rotation is not None else 0
    return f"number {number}, {authority_words(root.authority)}, until {day(root.not_after_ms)}"


def authority_words(authority: Authority) -> str:
    """Return who signs for a root, in a few words."""
    if authority.quorum is None:
        return "one key"
    return f"{authority.threshold} of {len(authority.signers)} keys"


def day(time_ms: int) -> str:
    """Return a time as people write it, in UTC."""
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _issuing(paper: Paper) -> list[str]:
    wish = paper.request
    assert wish is not None, "an issuing has a request"
    lines = [
        f"  issuer      {wish.name}",
        f"  its key     {peer_id_of(wish.public_key)}",
    ]
    if not paper.drafts:
        return [
            *lines,
            f"  may give    {role_words(wish.roles)} in {', '.join(wish.namespaces)}",
            f"  for         {wish.days} days from when it is signed",
        ]
    said = paper.draft_certificate(0)
    return [
        *lines,
        f"  may give    {role_words(said.max_roles)} in {', '.join(said.namespaces)}",
        f"  valid       {day(said.not_before_ms)} to {day(said.not_after_ms)}",
    ]


def _rotation(paper: Paper) -> list[str]:
    said = paper.draft_certificate(0)
    assert said.rotation is not None, "a rotation has one"
    return [
        f"  new root    {root_words(said)}",
        f"  old one     its certificates count until {day(said.rotation.old_until_ms)}",
    ]


def _founding(paper: Paper) -> list[str]:
    top, middle = paper.draft_certificate(0), paper.draft_certificate(1)
    genesis: Genesis = paper.draft_genesis()
    return [
        f"  network     {top.network_name} ({top.network_id})",
        f"  first node  {paper.node_name}; the network waits for {genesis.expected_voters} voters",
        f"  its root    {root_words(top)}",
        f"  its issuer  {middle.peer_id}, until {day(middle.not_after_ms)}",
    ]


def _next(paper: Paper) -> str:
    match paper.purpose:
        case Purpose.ISSUING:
            return "It is complete: `conclave issuer install FILE` on the node that asked."
        case Purpose.ROTATION:
            return (
                "It is complete: for each issuer `conclave issuer request`, `conclave root sign "
                "--roots FILE`, `conclave issuer install`."
            )
        case Purpose.FOUNDING:
            return "It is complete: `conclave init --finish FILE` on the node that made it."
        case _:
            return "Nothing in it is to be signed."
