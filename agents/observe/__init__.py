"""Seeing what a node does: logs, and `agents.observe.metrics` for whoever wants to be scraped."""

from agents.observe.logs import logging_to, masked, one_line, printable

__all__ = ["logging_to", "masked", "one_line", "printable"]
