"""How much of a decision models of traffic that comes and goes look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecisionLimits:
    """How much of a decision is looked at; what is over comes off the far end."""

    agents: int = 128
    """Largest number of agents; those nearest to the observer are kept."""
    pieces: int = 128
    """Largest number of map pieces."""
    newcomers: int = 32
    """Largest number of newcomers that are learnt from in one decision."""
