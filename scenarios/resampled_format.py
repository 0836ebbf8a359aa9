"""What a file says per sample besides the tracks, rewritten for a scene in other steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scenarios.scenario import DT, Scenario
from scenarios.source_format import ColumnFormat, SourceFormat, TrackFormat

RECORDED_STAMPS: Final = "recorded_ts"
"""Key in the metadata of a resampled scene: the file's own time stamps, one per sample."""
_LIGHT_COUNTS: Final = (
    "num_traffic_lights_each_step",
    "num_traffic_light_each_step",
    "dynamic_object_states_counter",
)
"""Names under which MetaDrive's number summary counts the states of lights over all steps."""


def held_rows(value: Any, held: NDArray[np.intp], samples: int) -> Any:
    """A value per sample as a value per step: the latest sample's; anything else is returned as it is."""
    if isinstance(value, np.ndarray):
        return value[held] if value.ndim > 0 and len(value) == samples else value
    if isinstance(value, list | tuple) and len(value) == samples:
        return type(value)(value[row] for row in held) if type(value) in (list, tuple) else value
    return value


def write_lights(lights: Mapping[str, Any], held: NDArray[np.intp], samples: int) -> dict[str, Any]:
    """Traffic lights that keep their state until the next sample."""
    return {key: _light(entry, held, samples) for key, entry in lights.items()}


def _light(entry: Any, held: NDArray[np.intp], samples: int) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    made = dict(entry)
    if isinstance(entry.get("state"), Mapping):
        made["state"] = {key: held_rows(value, held, samples) for key, value in entry["state"].items()}
    return _counted(made, len(held), samples)


def write_metadata(
    scenario: Scenario, made: Scenario, held: NDArray[np.intp], times: NDArray[np.float64]
) -> dict[str, Any]:
    """Metadata of the scene in steps: stamps in seconds, and every count of samples that MetaDrive knows.

    Args:
        scenario: As sampled.
        made: With its tracks in steps.
        held: Latest sample at each step, [N].
        times: Time of each step, [N], s.
    """
    metadata = dict(scenario.metadata)
    samples = scenario.num_steps
    if metadata.get("ts") is not None:
        metadata[RECORDED_STAMPS] = metadata["ts"]
    metadata["ts"] = times.copy()
    if "sample_rate" in metadata:
        metadata["sample_rate"] = DT
    if "track_length" in metadata:
        metadata["track_length"] = len(held)
    current = metadata.get("current_time_index")
    if isinstance(current, int | np.integer) and 0 <= current < samples:
        metadata["current_time_index"] = min(int(np.searchsorted(held, current)), len(held) - 1)
    summary = metadata.get("object_summary")
    if isinstance(summary, Mapping):
        metadata["object_summary"] = {key: _summary(entry, made) for key, entry in summary.items()}
    numbers = metadata.get("number_summary")
    if isinstance(numbers, Mapping):
        counts = _light_counts(write_lights(scenario.lights, held, samples))
        metadata["number_summary"] = {
            key: counts if key in _LIGHT_COUNTS and value else value for key, value in numbers.items()
        }
    return metadata


def _summary(entry: Any, made: Scenario) -> Any:
    """MetaDrive's summary of one object, with its counts of samples as counts of steps."""
    name = str(entry.get("object_id")) if isinstance(entry, Mapping) else ""
    if name not in made.agent_ids:
        return entry
    valid = made.valid[made.agent_ids.index(name)]
    first = int(valid.argmax())
    unbroken = int(np.logical_and.accumulate(valid[first:]).sum())
    known = {"track_length": len(valid), "valid_length": int(valid.sum()), "continuous_valid_length": unbroken}
    return {**entry, **{key: value for key, value in known.items() if key in entry}}


def _light_counts(lights: Mapping[str, Any]) -> dict[str, int]:
    states = (entry.get("state") for entry in lights.values() if isinstance(entry, Mapping))
    rows = (state.get("object_state") for state in states if isinstance(state, Mapping))
    return dict(Counter(str(state) for row in rows if isinstance(row, list | tuple | np.ndarray) for state in row))


def written_form(form: SourceFormat, held: NDArray[np.intp], samples: int) -> SourceFormat:
    """The record of how the file was written, for the scene in steps."""
    shared: dict[int, Mapping[str, ColumnFormat]] = {}
    return replace(form, tracks={name: _track(track, held, samples, shared) for name, track in form.tracks.items()})


def _track(
    track: TrackFormat, held: NDArray[np.intp], samples: int, shared: dict[int, Mapping[str, ColumnFormat]]
) -> TrackFormat:
    columns = shared.get(id(track.columns))
    if columns is None:
        columns = {name: _column(column, held, samples) for name, column in track.columns.items()}
        shared[id(track.columns)] = columns
    return replace(
        track,
        columns=columns,
        state_extras={key: held_rows(value, held, samples) for key, value in track.state_extras.items()},
        extras=_counted(dict(track.extras), len(held), samples),
    )


def _column(column: ColumnFormat, held: NDArray[np.intp], samples: int) -> ColumnFormat:
    whole = column.dtype.kind in "iub" and column.key != "valid"
    return replace(
        column,
        # Numbers between two whole ones are not whole.
        dtype=np.dtype(np.float64) if whole else column.dtype,
        raw=held_rows(column.raw, held, samples),
    )


def _counted(entry: dict[str, Any], steps: int, samples: int) -> dict[str, Any]:
    """An entry whose metadata counts steps where it counted samples."""
    about = entry.get("metadata")
    if isinstance(about, Mapping) and about.get("track_length") == samples:
        entry["metadata"] = {**about, "track_length": steps}
    return entry
