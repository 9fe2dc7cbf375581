"""Our own side of every comparison: peers, and nodes with agents, each in a process of its own."""
