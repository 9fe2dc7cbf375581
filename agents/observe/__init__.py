"""Seeing what a node does: logs and metrics."""

from agents.observe.logs import logging_to, masked, printable
from agents.observe.metrics import NodeCollector, serve_metrics

__all__ = ["NodeCollector", "logging_to", "masked", "printable", "serve_metrics"]
