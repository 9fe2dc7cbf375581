"""What a network's roots sign, on papers that go from key to key; only commands need it."""

from keys.ceremonies.installing import asking_key, install_issuer
from keys.ceremonies.key_file import read_key_file, write_key_file
from keys.ceremonies.paper import MAX_PAPER_CHARS, Paper, Purpose
from keys.ceremonies.refusals import CeremonyRefused
from keys.ceremonies.request import IssuerRequest

__all__ = [
    "MAX_PAPER_CHARS",
    "CeremonyRefused",
    "IssuerRequest",
    "Paper",
    "Purpose",
    "asking_key",
    "install_issuer",
    "read_key_file",
    "write_key_file",
]
