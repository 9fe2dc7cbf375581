"""A replicated key-value store with sessions and locks: the state machine that the log drives."""
