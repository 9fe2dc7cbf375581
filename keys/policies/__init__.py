"""Policy files: reading one, and which of those that were given is in force."""

from keys.policies.file import MAX_POLICY_BYTES, parse_policy
from keys.policies.store import Held, Place, PolicyStore

__all__ = ["MAX_POLICY_BYTES", "Held", "Place", "PolicyStore", "parse_policy"]
