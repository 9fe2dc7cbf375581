"""Thousands of clusters in virtual time: the real core under faults that a seed decides."""

from consensus.sim.histories import REFUSED, UNKNOWN, Done, Operation, Recorder
from consensus.sim.histories import Outcome as OperationOutcome
from consensus.sim.invariants import InvariantBroken
from consensus.sim.linearizable import Judgement, Verdict, check
from consensus.sim.oracle import Oracle
from consensus.sim.schedule import Schedule, draw_schedule
from consensus.sim.simulation import Outcome, Simulation, run_seed
from consensus.sim.weather import STORM, Weather, draw_weather

__all__ = [
    "REFUSED",
    "STORM",
    "UNKNOWN",
    "Done",
    "InvariantBroken",
    "Judgement",
    "Operation",
    "OperationOutcome",
    "Oracle",
    "Outcome",
    "Recorder",
    "Schedule",
    "Simulation",
    "Verdict",
    "Weather",
    "check",
    "draw_schedule",
    "draw_weather",
    "run_seed",
]
