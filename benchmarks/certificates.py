"""Certificates for the rivals, made at run time: an authority, and one member for both ends.

What this module does not know: who uses them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "localhost"


@contextmanager
def certificates() -> Iterator[Path]:
    """Yield a directory with `ca.pem`, `cert.pem` and `key.pem`; ImportError without trustme."""
    import trustme

    authority = trustme.CA()
    member = authority.issue_cert(HOST, "127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
        place = Path(directory)
        authority.cert_pem.write_to_path(str(place / "ca.pem"))
        member.private_key_pem.write_to_path(str(place / "key.pem"))
        member.cert_chain_pems[0].write_to_path(str(place / "cert.pem"))
        yield place
