"""Signed quorum decisions."""
