"""What users get on the replicated store: keys, watches, locks, terms of leadership."""

from agents.keeping.keeping import Keeping

__all__ = ["Keeping"]
