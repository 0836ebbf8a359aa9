"""Write scenes as ScenarioNet does: pickles of ScenarioDescriptions, a summary and a mapping. Never half a file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness import files
from harness.errors import RunError, ScenarioError
from harness.files import explained, write_atomically
from scenarios import safe_pickle
from scenarios.description import to_description
from scenarios.scenario import Kind, Scenario
from scenarios.store import MAPPING, SUMMARY

PREFIX: Final = "sd_"
"""MetaDrive opens only files that are numbered or start so."""


def file_name(name: str) -> str:
    """A file name for a scene id that MetaDrive recognises as a scenario file; see `harness.files.file_name`."""
    safe = files.file_name(name, "-_.")
    return f"{safe}.pkl" if safe.isdecimal() or safe.startswith(PREFIX) else f"{PREFIX}{safe}.pkl"


def write_folder(scenarios: Iterable[Scenario], folder: str | Path) -> list[Path]:
    """Write scenes with summary and mapping; scenes of the folder that are not written now stay listed.

    Args:
        scenarios: Written one at a time, so a generator needs little memory.
        folder: Made if missing.

    Returns:
        The files written, in order.

    Raises:
        ScenarioError: Two scenes have the same id, or the folder cannot be written.
    """
    folder = Path(folder)
    summary = _present_summary(folder)
    written: list[Path] = []
    taken: dict[str, str] = {}
    for scenario in scenarios:
        name = file_name(scenario.id)
        if taken.get(name, scenario.id) != scenario.id:  # `x` and `sd_x`: what is no plain name has a check sum.
            name = file_name(f"{scenario.id}/")
        if name in taken:
            raise ScenarioError(f"{folder / name}: two scenes have the id {scenario.id!r}. Give them different ids.")
        taken[name] = scenario.id
        document = to_description(scenario)
        written.append(write_pickle(document, folder / name))
        summary[name] = summarise(document, scenario)
    write_pickle(summary, folder / SUMMARY)
    write_pickle(dict.fromkeys(summary, ""), folder / MAPPING)
    return written


def summarise(document: Mapping[str, Mapping[str, Any]], scenario: Scenario) -> dict[str, object]:
    """What the summary says about a scene: its metadata without arrays, and counts."""
    metadata = {key: value for key, value in document["metadata"].items() if not _has_array(value)}
    numbers = {
        "num_objects": scenario.num_agents,
        "num_objects_each_type": {
            kind.name: count for kind in Kind if (count := int((scenario.kinds == kind).sum())) > 0
        },
        "num_map_features": len(scenario.features),
        "num_traffic_lights": len(scenario.lights),
    }
    metadata.setdefault("number_summary", numbers)
    return {**metadata, "track_length": scenario.num_steps}


def write_pickle(value: object, path: str | Path) -> Path:
    """Pickle plain data, all or nothing.

    Raises:
        ScenarioError: The file cannot be written.
    """
    path = Path(path)

    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            # Protocol 4 is what MetaDrive and ScenarioNet write, and every Python 3.4 and later reads.
            pickle.dump(value, file, protocol=4)

    try:
        with explained(path.parent, "make"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except RunError as error:
        raise ScenarioError(str(error)) from error
    return path


def _present_summary(folder: Path) -> dict[str, object]:
    if not (folder / SUMMARY).exists():
        return {}
    found = safe_pickle.load(folder / SUMMARY, safe_pickle.MAX_SUMMARY)
    if not isinstance(found, dict):
        raise ScenarioError(f"{folder / SUMMARY}: holds {type(found).__name__}, not a summary. Choose another folder.")
    return {name: value for name, value in found.items() if isinstance(name, str) and os.path.isfile(folder / name)}


def _has_array(value: object) -> bool:
    if isinstance(value, np.ndarray | set):
        return True
    if isinstance(value, Mapping):
        return any(_has_array(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_has_array(item) for item in value)
