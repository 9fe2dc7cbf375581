"""Looking after a home's keys: which there are, their passphrase, no core dumps."""

from keys.rekeying import change_passphrase
from keys.safekeeping.dumps import forbid_core_dumps
from keys.safekeeping.inventory import KeyNote, key_notes
from keys.safekeeping.passphrase_file import load_passphrase

__all__ = ["KeyNote", "change_passphrase", "forbid_core_dumps", "key_notes", "load_passphrase"]
