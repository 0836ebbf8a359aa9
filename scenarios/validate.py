"""What is wrong with a scene: every finding names the field, the reason and how much it matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from harness.errors import ScenarioError
from scenarios.bounds import (
    MAX_SPEED,
    check_counts,
    check_lights,
    check_motion,
    check_names,
    check_places,
    check_times,
)
from scenarios.filters import static_ego
from scenarios.findings import Finding, Needs
from scenarios.findings import error as _error
from scenarios.findings import warning as _warning
from scenarios.map_index import has_road_edges
from scenarios.resampling import TEN_HERTZ, misfit_step, recorded_rate
from scenarios.scenario import CURRENT_STEP, Kind, Scenario
from scenarios.source_format import FORMAT_KEY, SourceFormat

__all__ = ["Finding", "Needs", "check", "duplicates", "validate"]


def validate(scenario: Scenario, needs: Needs | None = None) -> tuple[Finding, ...]:
    """Everything that is wrong with a scene, errors first; empty if nothing is."""
    findings = tuple(_check_shapes(scenario))
    if not findings:  # The other checks index the arrays.
        findings = (*check_scene(scenario, needs), *check_actors(scenario, needs))
    return tuple(sorted(findings, key=lambda finding: finding.level))


def check_scene(scenario: Scenario, needs: Needs | None = None) -> tuple[Finding, ...]:
    """What is wrong with a scene whoever its opponent is; without errors here, one can be looked for."""
    needs = needs or Needs()
    if shapes := tuple(_check_shapes(scenario)):
        return shapes
    findings = [*check_counts(scenario), *check_names(scenario), *check_times(scenario), *_check_rate(scenario)]
    findings += [*_check_numbers(scenario), *_check_ego(scenario, needs), *_check_map(scenario, needs)]
    with np.errstate(all="ignore"):  # What is not finite is reported above.
        return (*findings, *check_places(scenario), *check_lights(scenario))


def check_actors(scenario: Scenario, needs: Needs | None = None) -> tuple[Finding, ...]:
    """What is wrong with how agents move and with their sizes, where ego and opponent are held to more than others."""
    with np.errstate(all="ignore"):  # What is not finite is found by `check_scene`.
        return (*check_opponent(scenario, needs or Needs()), *_check_sides(scenario), *check_motion(scenario))


def check(scenario: Scenario, needs: Needs | None = None) -> None:
    """Raise if the scene cannot be used.

    Raises:
        ScenarioError: Names the file and every error found.
    """
    refuse(scenario, validate(scenario, needs))


def refuse(scenario: Scenario, findings: Iterable[Finding]) -> None:
    """Raise if one of a scene's findings is an error; errors as `check`."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        reasons = "; ".join(f"{finding.field}: {finding.reason}" for finding in errors)
        end = "" if reasons.endswith("?") else "."
        name = scenario.source or scenario.id
        raise ScenarioError(f"{name}: {reasons}{end} Leave this scene out, or repair the file.")


def duplicates(ids: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Scene ids that occur in more than one file: id → file names, from pairs (file name, id)."""
    seen: dict[str, list[str]] = {}
    for file, name in ids:
        seen.setdefault(name, []).append(file)
    return {name: files for name, files in seen.items() if len(files) > 1}


def _check_shapes(scenario: Scenario) -> Iterable[Finding]:
    agents = len(scenario.agent_ids)
    if agents == 0:
        yield _error("tracks", "there are no agents")
        return
    if scenario.valid.ndim != 2 or scenario.valid.shape[0] != agents:
        yield _error("valid", f"has shape {scenario.valid.shape}, expected [{agents} agents, steps]")
        return
    steps = scenario.valid.shape[1]
    expected = {
        "kinds": (agents,),
        "position": (agents, steps, 3),
        "heading": (agents, steps),
        "velocity": (agents, steps, 2),
        "size": (agents, steps, 3),
    }
    for name, shape in expected.items():
        found = getattr(scenario, name).shape
        if found != shape:
            yield _error(name, f"has shape {found}, expected {shape}")
    if len(set(scenario.agent_ids)) != agents:
        yield _error("tracks", "two agents have the same id")
    if not 0 <= scenario.ego < agents:
        yield _error("ego", f"index {scenario.ego} is not among the {agents} agents")


def _check_rate(scenario: Scenario) -> Iterable[Finding]:
    if not scenario.dt > 0:
        return  # Reported by `check_times`.
    rate = recorded_rate(scenario)
    if rate != TEN_HERTZ:
        yield _warning("ts", f"recorded at {rate}, resampled to {TEN_HERTZ}")
    implied = misfit_step(scenario)
    if implied is not None:
        yield _warning(
            "velocity", f"leads from position to position in {implied:.2g} s, but steps are {scenario.dt:g} s apart"
        )


def _check_numbers(scenario: Scenario) -> Iterable[Finding]:
    valid = scenario.valid
    for name in ("position", "heading", "velocity", "size"):
        values = getattr(scenario, name)
        bad = ~np.isfinite(values.reshape(*valid.shape, -1)).all(-1) & valid
        if bad.any():
            agent, step = np.argwhere(bad)[0]
            who = scenario.agent_ids[agent]
            where = f"tracks[{who!r}]: {name}"
            yield _error(where, f"NaN or infinite at step {step} although valid ({int(bad.sum())} such rows in all)")
    form = scenario.extras.get(FORMAT_KEY)
    for name, track in form.tracks.items() if isinstance(form, SourceFormat) else ():
        if track.swapped:
            yield _warning(f"tracks[{name!r}]: size", "the file has length and width exchanged; put right when read")
    never = [scenario.agent_ids[agent] for agent in np.flatnonzero(~valid.any(1))]
    if never:
        yield _warning("tracks", f"{len(never)} agents are never valid ({', '.join(never[:5])})")
    speed = np.where(
        valid, np.hypot(*np.moveaxis(np.nan_to_num(scenario.velocity, posinf=0.0, neginf=0.0), -1, 0)), 0.0
    )
    fast = np.flatnonzero(speed.max(1) > MAX_SPEED)
    if len(fast):
        name = scenario.agent_ids[fast[0]]
        yield _warning(f"tracks[{name!r}]: velocity", f"reaches {speed[fast[0]].max():.0f} m/s")


def _check_sides(scenario: Scenario) -> Iterable[Finding]:
    flat = scenario.valid & ~(np.nan_to_num(scenario.size[..., :2]) > 0).all(-1)
    for agent in np.flatnonzero(flat.any(1)):
        name = scenario.agent_ids[agent]
        level: Callable[[str, str], Finding] = _error if agent in (scenario.ego, scenario.opponent) else _warning
        yield level(f"tracks[{name!r}]: size", f"length or width is not positive at {int(flat[agent].sum())} steps")


def _check_ego(scenario: Scenario, needs: Needs) -> Iterable[Finding]:
    name = scenario.agent_ids[scenario.ego]
    where = f"tracks[{name!r}] (ego)"
    valid = scenario.valid[scenario.ego]
    if scenario.kinds[scenario.ego] != Kind.VEHICLE:
        yield _error(where, f"is a {Kind(int(scenario.kinds[scenario.ego])).name.lower()}, not a vehicle")
    rows = np.flatnonzero(valid)
    if len(rows) == 0:
        yield _error(where, "is never valid")
        return
    if rows[0] > 0:
        yield _error(where, f"appears only at step {rows[0]}; it must be there from step 0")
    gaps = np.flatnonzero(np.diff(rows) > 1)
    if len(gaps):
        first = rows[gaps[0]] + 1
        yield _error(where, f"has {len(gaps)} gaps, the first at step {first}")
    lasts = int(rows[-1]) + 1
    if lasts < needs.steps:
        yield _error(
            where, f"lasts {lasts} steps, but {needs.steps} are needed, the first {CURRENT_STEP + 1} as history"
        )
    if (reason := static_ego(scenario)) is not None:
        yield _warning(where, f"{reason}: it has no way to complete, and --fit-only leaves it out")


def _check_map(scenario: Scenario, needs: Needs) -> Iterable[Finding]:
    lanes = [feature for feature in scenario.features if feature.is_vehicle_lane]
    if not lanes:
        yield _error("map_features", f"no lanes that cars may use among {len(scenario.features)} elements")
    points = [feature.points[:, :2] for feature in scenario.features]
    if points and not np.isfinite(np.concatenate(points)).all():
        bad = [feature.id for feature in scenario.features if not np.isfinite(feature.points[:, :2]).all()]
        yield _error(f"map_features[{bad[0]!r}]", f"NaN or infinite points ({len(bad)} such elements in all)")
    short = [feature.id for feature in lanes if len(feature.points) < 2]
    if len(short) == len(lanes) and lanes:
        yield _error("map_features", "every lane has fewer than two points")
    elif short:
        yield _warning("map_features", f"{len(short)} lanes have fewer than two points ({', '.join(short[:5])})")
    if not has_road_edges(scenario):
        level = _error if needs.road_edges else _warning
        yield level("map_features", "no road edges, so leaving the road cannot be judged by the map")
    names = [feature.id for feature in scenario.features]
    if len(set(names)) != len(names):
        yield _error("map_features", "two elements have the same id")


def check_opponent(scenario: Scenario, needs: Needs) -> Iterable[Finding]:
    """Whether there is an opponent, and whether it is there when an attack begins."""
    opponent = scenario.opponent
    level = _error if needs.opponent else _warning
    if opponent is None:
        yield level("opponent", "there is none: no vehicle is marked, and none comes into conflict with the ego")
        return
    if not 0 <= opponent < scenario.num_agents or opponent == scenario.ego:
        yield _error("opponent", f"index {opponent} is not another agent")
        return
    name, rows = scenario.agent_ids[opponent], np.flatnonzero(scenario.valid[opponent])
    where = f"tracks[{name!r}] (opponent)"
    if len(rows) == 0:
        yield level(where, "is never valid")
        return
    if rows[0] > CURRENT_STEP:
        yield level(where, f"appears only at step {rows[0]}; attacks start after step {CURRENT_STEP}")
    elif rows[0] > 0:
        yield _warning(where, f"appears only at step {rows[0]}")
    gaps = int((np.diff(rows) > 1).sum())
    if gaps:
        yield _warning(where, f"has {gaps} gaps")
