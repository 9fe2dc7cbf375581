"""How agents are, and what becomes of those that fail."""

from agents.health.judging import (
    MAX_REASON,
    Condition,
    Health,
    HealthCore,
    HealthSettings,
    Sample,
    Verdict,
    restart_delay_ms,
    said_of,
)
from agents.health.life import Check, Hook, Life, run_hook

__all__ = [
    "MAX_REASON",
    "Check",
    "Condition",
    "Health",
    "HealthCore",
    "HealthSettings",
    "Hook",
    "Life",
    "Sample",
    "Verdict",
    "restart_delay_ms",
    "run_hook",
    "said_of",
]
