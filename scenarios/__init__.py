"""What happened: scenario data model, stores, importers, procedural generation and splits."""

from scenarios.scenario import CURRENT_STEP, Kind, MapFeature, Scenario, ScenarioSource
from scenarios.sources import open_source
from scenarios.splits import Concat, Subset
from scenarios.store import ScenarioStore

__all__ = [
    "CURRENT_STEP",
    "Concat",
    "Kind",
    "MapFeature",
    "Scenario",
    "ScenarioSource",
    "ScenarioStore",
    "Subset",
    "open_source",
]
