"""Thousands of clusters in virtual time: the real core under faults that a seed decides."""

from consensus.sim.oracle import InvariantBroken, Oracle
from consensus.sim.simulation import Outcome, Simulation, run_seed
from consensus.sim.weather import STORM, Weather, draw_weather

__all__ = [
    "STORM",
    "InvariantBroken",
    "Oracle",
    "Outcome",
    "Simulation",
    "Weather",
    "draw_weather",
    "run_seed",
]
