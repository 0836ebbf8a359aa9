"""From a log to examples: whom to learn from, at which offsets of the token grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.pieces import piece_lights
from harness.traffic.tokens.scene import (
    CURRENT_TOKEN,
    SceneTokens,
    choose_agents,
    ego_frame,
    joined_tokens,
    map_tables,
    nearby_pieces,
    roles,
)
from harness.traffic.tokens.shapes import TOKEN_STEPS
from harness.traffic.tokens.tokeniser import relative_poses
from harness.traffic.tokens.tracks import Tracks, clean_tracks
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import ExampleOptions
from scenarios.scenario import CURRENT_STEP, Scenario

_OF_AGENTS: Final = (
    *("agents", "kinds", "present", "sizes", "token", "token_valid", "poses", "goal", "goal_valid", "trained"),
    *("ego", "road_user"),
)
"""Arrays of `SceneTokens` with a row per agent."""


def starting_later(scenario: Scenario, steps: int) -> Scenario:
    """The scene without its first steps: whoever reads it sees all later ones, and its current step, so much earlier.

    Agents, their indices and the map stay as they are; no steps are the scene itself.
    """
    if steps == 0:
        return scenario
    times = scenario.num_steps
    arrays = {name: getattr(scenario, name)[:, steps:] for name in ("position", "heading", "velocity", "size", "valid")}
    metadata = dict(scenario.metadata)
    if len(np.atleast_1d(metadata.get("ts", ()))) == times:
        metadata["ts"] = metadata["ts"][steps:]
    lights = {
        name: {**light, "state": _later(light.get("state", {}), steps, times)}
        for name, light in scenario.lights.items()
    }
    return replace(scenario, id=f"{scenario.id}+{steps}", lights=lights, metadata=metadata, **arrays)


def _later(states: Mapping[str, Any], steps: int, times: int) -> dict[str, Any]:
    """What a traffic light has at each of `times` steps, without the first ones."""
    return {
        name: value[steps:] if isinstance(value, list | tuple | np.ndarray) and len(value) == times else value
        for name, value in states.items()
    }


def examples_of(
    scenario: Scenario, vocabulary: Vocabulary, options: SceneOptions, examples: ExampleOptions
) -> list[SceneTokens]:
    """The scene in one phase of the token grid after the other; all share a map and a frame.

    Phase p is what `starting_later(scenario, p)` has. It is the last but one if the ego is gone or nobody can be learnt
    from at the current step of the next. Without any such phase the list is empty.

    Args:
        scenario: At 10 Hz, with the ego valid at the current step.
        vocabulary: Motion and map tokens.
        options: What of a scene is kept.
        examples: Whom to learn from, and the number of phases.
    """
    frame = ego_frame(scenario)
    phases: list[SceneTokens] = []
    for number in range(examples.phases):
        seen = starting_later(scenario, number)
        if seen.num_steps <= CURRENT_STEP + TOKEN_STEPS or not seen.valid[seen.ego, CURRENT_STEP]:
            break
        if examples.trained == "near":
            agents, trained = choose_agents(seen, options)
            tracks = clean_tracks(seen, agents)
        else:
            agents, trained, tracks = everybody(seen, examples.agents)
        if number == 0:
            places = relative_poses(tracks.poses[tracks.valid], frame)[:, :2]
            pieces = nearby_pieces(seen, vocabulary, options, frame, places, options.map_margin)
            tables = map_tables(pieces, options)
        else:
            pieces = pieces._replace(light=piece_lights(seen, pieces.feature, CURRENT_STEP))
        tokens = joined_tokens(seen, vocabulary, frame, pieces, tables, agents, trained, tracks)
        if not teaches(tokens):
            break
        phases.append(tokens)
    return phases


def everybody(scenario: Scenario, limit: int) -> tuple[NDArray[np.intp], NDArray[np.bool_], Tracks]:
    """Everybody with a token, whenever they are there, which of them have two in a row, and their tracks.

    Those with a role come first, then those that come nearest to where the ego is at the current step.

    Args:
        scenario: The scene.
        limit: Largest number of agents.
    """
    every = np.arange(scenario.num_agents)
    tracks = clean_tracks(scenario, every)
    known = tracks.valid[:, ::TOKEN_STEPS]
    moves = known[:, :-1] & known[:, 1:]
    place = scenario.position[scenario.ego, CURRENT_STEP, :2]
    gap = np.where(tracks.valid, np.hypot(*np.moveaxis(tracks.poses[..., :2] - place, -1, 0)), np.inf).min(1)
    order = np.lexsort((gap, ~roles(scenario)))
    somewhere = np.asarray(moves.any(1), dtype=np.bool_)
    kept = np.sort(order[somewhere[order]][:limit])
    trained = np.asarray(np.logical_and(moves[kept, :-1], moves[kept, 1:]).any(1), dtype=np.bool_)
    return kept, trained, Tracks(tracks.poses[kept], tracks.valid[kept])


def simulated(tokens: SceneTokens) -> SceneTokens:
    """The tokens of those who are there at the current step, for stages that roll out from it.

    Whom the log has lost at that very step is left out, as it is wherever scenes are simulated. Trained are those who
    have a token after it as well.
    """
    there = tokens.present & tokens.token_valid[:, CURRENT_TOKEN - 1]
    rows = np.flatnonzero(there)
    taken = {name: getattr(tokens, name)[rows] for name in _OF_AGENTS}
    taken["trained"] = taken["trained"] & taken["token_valid"][:, CURRENT_TOKEN:].any(1)
    return replace(tokens, **taken)


def teaches(tokens: SceneTokens) -> bool:
    """Whether anybody who is there at the current step is trained and has a token after it: losses are means."""
    return bool(simulated(tokens).trained.any())
