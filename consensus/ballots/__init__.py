"""Signed decisions of a quorum: proposals, ballots, tallies, certificates and their register."""
