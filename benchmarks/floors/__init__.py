"""The plainest code that does the same work with the same encryption: what the figures are held
against. Nothing here checks who speaks, keeps a deadline or survives anything."""
