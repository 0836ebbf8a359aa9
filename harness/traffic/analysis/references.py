"""Which recorded windows are retrieved for windows of a roll-out, with their maps (RosettaSim, appendix G.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, ScenarioError
from harness.geometry import to_frame
from harness.interfaces import TrafficPolicy
from harness.metrics.longterm.retrieval import WindowLatents, nearest_windows
from harness.traffic.analysis.config import ReferencesConfig
from harness.traffic.longterm.engines import RetrievalBase, load_vae
from harness.traffic.longterm.evaluation import LOG
from harness.traffic.longterm.scene import LongScene, WindowRecord
from harness.traffic.make import make_traffic
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

SEEN: Final = 75.0
"""How far from the observer the map is drawn, m."""


class DrawnWindow(NamedTuple):
    """A window in its observer's frame where it starts, x ahead and y to the left, m.

    Attributes:
        name: Scene and time.
        ways: [A, P, 2] everybody's way, NaN where one is not there.
        roads: Lines of the map, [n, 2] each.
        distance: How far it is from the query; NaN for a query.
    """

    name: str
    ways: Floats
    roads: list[Floats]
    distance: float = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class _Played:
    """A scene with its recording and a roll-out."""

    scene: LongScene
    log: WindowRecord
    rollout: WindowRecord

    def window(self, record: WindowRecord, number: int, distance: float = float("nan")) -> DrawnWindow:
        """A window of the recording or the roll-out."""
        scene = self.scene
        start = int(scene.starts[number])
        observer = scene.observer[start, :3]
        lanes = [feature.points for feature in scene.scenario.features if feature.is_lane]
        roads = [to_frame(np.asarray(line[:, :2], dtype=np.float64), observer) for line in lanes]
        near = [line for line in roads if (np.abs(line) < SEEN).all(-1).any()]
        return DrawnWindow(
            f"{scene.scenario.id}, {start * scene.scenario.dt:.1f} s", record.paths[number], near, distance
        )


def retrieved_windows(config: ReferencesConfig, scenes: Iterable[Scenario]) -> list[list[DrawnWindow]]:
    """Windows of roll-outs, each followed by the recorded windows that are most like it.

    Raises:
        ConfigError: No scene could be used, the model cannot be built, or no window can be retrieved.
        WeightsError: Weights cannot be used.
    """
    policy = None if config.traffic == LOG else make_traffic(config.traffic, config.observer)
    played, reasons = _played(config, scenes, policy)
    if not played:
        raise ConfigError(f"references: no scene can be used: {next(iter(reasons), 'there are none')}")
    rows = [np.flatnonzero(one.scene.judged)[:: config.every] for one in played]
    base = RetrievalBase.of([one.log for one in played], rows)
    whose = np.repeat(np.arange(len(played)), [len(picked) for picked in rows])
    queries = [(place, int(row)) for place, one in enumerate(played) for row in np.flatnonzero(one.scene.judged)]
    chosen = np.unique(np.linspace(0, len(queries) - 1, config.windows).round().astype(int))
    found = []
    for number in chosen:
        place, row = queries[number]
        one = played[place]
        distances = base.distances(_single(one.rollout, row), config.retrieval, config.map_weight)
        allowed = np.broadcast_to(whose != place, distances.shape) if config.foreign else None
        known = int(allowed.sum()) if allowed is not None else len(whose)
        count = min(config.references, known - int(np.floor(config.passed_over * known)))
        nearest = nearest_windows(distances, count, allowed=allowed, skip=config.passed_over)[0]
        flat = np.concatenate(rows)
        others = [
            played[whose[match]].window(played[whose[match]].log, int(flat[match]), float(distances[0, match]))
            for match in nearest
        ]
        found.append([one.window(one.rollout, row), *others])
    return found


def _played(
    config: ReferencesConfig, scenes: Iterable[Scenario], policy: TrafficPolicy | None
) -> tuple[list[_Played], list[str]]:
    """Scenes that can be used, and why the others cannot."""
    vae = load_vae(config.retrieval)
    played: list[_Played] = []
    reasons: list[str] = []
    for scenario in scenes:
        try:
            scene = LongScene.of(scenario, config.horizon, config.observer, vae)
            log = scene.log()
            played.append(_Played(scene, log, log if policy is None else scene.roll_out(policy, config.seed)))
        except ScenarioError as error:
            reasons.append(str(error))
    return played, reasons


def _single(record: WindowRecord, row: int) -> WindowRecord:
    """One window of a record."""
    latents = None if record.latents is None else WindowLatents(*(values[row : row + 1] for values in record.latents))
    return record._replace(paths=record.paths[row : row + 1], latents=latents)
