"""Which of several providers is asked: balancers, circuit breakers, outliers, a retry budget.

Pure cores; time and chance are handed in.
"""

from agents.choosing.balancers import BALANCERS, DEFAULT_BALANCE, FULL, MAX_WEIGHT, Balancer
from agents.choosing.breaker import TABLE, Action, Breaker, BreakerSettings, Event, State
from agents.choosing.budget import RetryBudget, backoff_ms
from agents.choosing.chooser import Chooser
from agents.choosing.destination import Destination
from agents.choosing.outcome import Outcome
from agents.choosing.outliers import OutlierSettings

__all__ = [
    "BALANCERS",
    "DEFAULT_BALANCE",
    "FULL",
    "MAX_WEIGHT",
    "TABLE",
    "Action",
    "Balancer",
    "Breaker",
    "BreakerSettings",
    "Chooser",
    "Destination",
    "Event",
    "Outcome",
    "OutlierSettings",
    "RetryBudget",
    "State",
    "backoff_ms",
]
