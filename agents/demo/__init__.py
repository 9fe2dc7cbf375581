"""`conclave demo`: five real agent processes, one real job, two of them killed."""

from agents.demo.director import DemoOptions, Outcome, play

__all__ = ["DemoOptions", "Outcome", "play"]
