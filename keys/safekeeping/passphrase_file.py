"""A passphrase in a file: its first and only line, in UTF-8.

What this module does not know: who named the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keys.errors import HomeDamaged, HomeUnreadable
from keys.files import read_file, read_private

MAX_BYTES: Final = 4096


def load_passphrase(path: Path, *, private: bool = True) -> str:
    """
    Args:
        private: refuse a file that others may read.

    Raises:
        InsecurePermissions: with the `chmod` that is missing.
        ValueError: there is no such file, or no passphrase in it; the text goes on behind its name.
    """
    try:
        data = read_private(path, MAX_BYTES) if private else read_file(path, MAX_BYTES)
    except HomeDamaged:
        raise ValueError(f"is longer than {MAX_BYTES:,} bytes") from None
    except HomeUnreadable as error:
        raise ValueError(f"cannot be read: {error.reason}") from None
    if data is None:
        raise ValueError("cannot be read: there is no such file")
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("cannot be read: it is no UTF-8") from None
    if not text:
        raise ValueError("is empty")
    return text
