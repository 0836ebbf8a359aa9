"""What happened: scenario data model, stores, importers, procedural generation and splits."""

from scenarios.scenario import CURRENT_STEP, Kind, MapFeature, Scenario, ScenarioSource

__all__ = ["CURRENT_STEP", "Kind", "MapFeature", "Scenario", "ScenarioSource"]
