"""Roll-outs of 8 s by which a retrieval is validated: scored by the challenge, and counted as one window each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.metrics.longterm.behaviour import behaviour_scores, pooled_references
from harness.metrics.longterm.distributions import Counts
from harness.metrics.longterm.scores import behaviour_buckets
from harness.metrics.wosac import Scorer
from harness.traffic.longterm.engines import RetrievalBase
from harness.traffic.longterm.scene import LongScene, WindowRecord
from harness.traffic.longterm.validation_config import ValidateRetrievalConfig
from harness.traffic.rollouts import SceneSimulator
from harness.traffic.scene_vae.model import SceneVae
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

Floats = NDArray[np.float64]

SHORT: Final = CURRENT_STEP + FUTURE_STEPS + 1
"""Steps of a scene of the challenge: its one window begins at step 10."""
CHALLENGE: Final = {"behaviour": "meta", "kinematic": "kinematic", "interactive": "interactive", "map": "map"}
"""Score by windows → the score of the challenge that it stands for."""


@dataclass(frozen=True, slots=True)
class ShortRun:
    """Everything that was rolled out for 8 s. S scenes, of which the first Q are rolled out.

    Attributes:
        scenes: Their names.
        log: Per scene the recording's window.
        models: Model → per rolled-out scene its roll-outs.
        challenge: Model → score of the challenge → per rolled-out scene.
        left_out: Scene → why it could not be used.
    """

    scenes: list[str] = field(default_factory=list)
    log: list[WindowRecord] = field(default_factory=list)
    models: dict[str, list[list[WindowRecord]]] = field(default_factory=dict)
    challenge: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        """How many scenes were rolled out."""
        return max((len(found) for found in self.models.values()), default=0)

    def base(self, scenes: int) -> RetrievalBase:
        """The windows of the first so many recordings."""
        return RetrievalBase.of(self.log[:scenes], [np.zeros(1, dtype=np.intp)] * scenes)

    def counts(self) -> dict[str, Counts]:
        """What all recordings do, [S, bins] each."""
        return stacked(self.log)

    def windows(self, model: str) -> tuple[list[WindowRecord], NDArray[np.intp]]:
        """All roll-outs of a model, and the scene of each."""
        found = self.models[model]
        scenes = np.repeat(np.arange(len(found)), [len(rollouts) for rollouts in found])
        return [record for rollouts in found for record in rollouts], scenes

    def challenge_means(self, model: str) -> dict[str, float]:
        """Means of the challenge's scores over scenes, named as those by windows; NaN where undefined everywhere."""
        return {name: nan_mean(np.asarray(self.challenge[model][other])) for name, other in CHALLENGE.items()}


def stacked(records: Sequence[WindowRecord]) -> dict[str, Counts]:
    """Counts of behaviour of many windows, [N, bins] each."""
    return {name: np.concatenate([record.counts[name] for record in records]) for name in records[0].counts}


def nan_mean(values: Floats) -> float:
    """Mean where defined; NaN where it is nowhere."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def scores_against(counts: Mapping[str, Counts], reference: Mapping[str, Counts]) -> dict[str, float]:
    """The realism of behaviour of many windows [N, bins] against references [N, bins] or [bins]: means, by bucket."""
    scores = behaviour_scores(counts, reference)
    buckets = behaviour_buckets({name: nan_mean(values) for name, values in scores.items()})
    return {name: float(value) for name, value in buckets.items()}


def scores_by_retrieval(
    counts: Mapping[str, Counts], base: Mapping[str, Counts], chosen: NDArray[np.intp]
) -> dict[str, float]:
    """The same against retrieved windows: rows `chosen` [N, K] of `base` [S, bins]."""
    return scores_against(counts, pooled_references(base, chosen))


def run_short(
    simulators: Mapping[str, SceneSimulator],
    scenes: Iterable[Scenario],
    queries: int,
    config: ValidateRetrievalConfig,
    vae: SceneVae | None = None,
) -> ShortRun:
    """Roll the first scenes out with every model; a scene that cannot be used is left out for all.

    Args:
        simulators: By the name under which they appear in tables.
        scenes: Loaded one at a time.
        queries: How many are rolled out; of the others only the recording is looked at.
        config: Roll-outs, seed, year of the challenge.
        vae: Encodes windows, where they are to be retrieved by latents.
    """
    run = ShortRun(
        models={name: [] for name in simulators},
        challenge={name: {other: [] for other in CHALLENGE.values()} for name in simulators},
    )
    for scenario in scenes:
        try:
            scene = LongScene.of(scenario, SHORT, "ego", vae)
            found = _rolled_out(simulators, scenario, scene, config) if len(run.scenes) < queries else {}
            log = scene.log()
        except ScenarioError as error:
            run.left_out[scenario.id] = str(error)
            continue
        run.scenes.append(scenario.id)
        run.log.append(log)
        for name, (records, scores) in found.items():
            run.models[name].append(records)
            for other, value in scores.items():
                run.challenge[name][other].append(value)
    return run


def _rolled_out(
    simulators: Mapping[str, SceneSimulator], scenario: Scenario, scene: LongScene, config: ValidateRetrievalConfig
) -> dict[str, tuple[list[WindowRecord], dict[str, float]]]:
    """Per model the windows of its roll-outs, and its scores by the challenge."""
    scorer = Scorer(scenario, config.config, partial=True)
    found: dict[str, tuple[list[WindowRecord], dict[str, float]]] = {}
    for name, simulator in simulators.items():
        simulated = simulator.simulate(scenario, config.rollouts, config.seed)
        scores = scorer.score(simulated).as_dict()
        records = [scene.short_term(simulated, number) for number in range(config.rollouts)]
        found[name] = records, {other: scores[other] for other in CHALLENGE.values()}
    return found
