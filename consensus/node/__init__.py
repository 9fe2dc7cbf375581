"""One node of the log over plain TCP on loopback, for harnesses that test from outside.

The real core, runner and storage, with the key-value store as machine, but without the network's
encryption and membership: nothing here belongs on a real network, and addresses that are not
loopback are refused. See `consensus/DESIGN.md`.
"""
