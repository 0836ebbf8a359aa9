"""Realism of simulated traffic: the metrics of the Waymo Open Sim Agents Challenge (WOSAC), 2024 and 2025."""

from harness.metrics.wosac.config import BUCKETS, CORRECTED, ESTIMATORS, FEATURES, OFFICIAL, WEIGHTS, Quirks
from harness.metrics.wosac.logged import Evaluated, evaluated_agents
from harness.metrics.wosac.scorer import RealismScores, RolloutScores, Scorer, score

__all__ = [
    "BUCKETS",
    "CORRECTED",
    "ESTIMATORS",
    "FEATURES",
    "OFFICIAL",
    "WEIGHTS",
    "Evaluated",
    "Quirks",
    "RealismScores",
    "RolloutScores",
    "Scorer",
    "evaluated_agents",
    "score",
]
