"""Thousands of clusters in virtual time: the real core under faults that a seed decides."""

from consensus.sim.invariants import InvariantBroken
from consensus.sim.oracle import Oracle
from consensus.sim.schedule import Schedule, draw_schedule
from consensus.sim.simulation import Outcome, Simulation, run_seed
from consensus.sim.weather import STORM, Weather, draw_weather

__all__ = [
    "STORM",
    "InvariantBroken",
    "Oracle",
    "Outcome",
    "Schedule",
    "Simulation",
    "Weather",
    "draw_schedule",
    "draw_weather",
    "run_seed",
]
