"""Learned background traffic in the environment: SMART drives everybody but the ego and its opponent.

Up to step 10 everybody follows the log; from then on the model decides every half second, on what everybody, the ego
and its opponent included, has truly done. Between decisions agents follow the poses of their token at 10 Hz. Cones,
barriers and unknown objects follow the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from harness.caching import Lru
from harness.errors import ConfigError
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, VX, VY
from harness.traffic.log_policies import logged_at
from harness.traffic.model.batch import AgentBatch, join_maps
from harness.traffic.model.drivers import DriverPool
from harness.traffic.model.network import MapFeatures
from harness.traffic.model.rollout import Rollout
from harness.traffic.model.shielded import Shield
from harness.traffic.model.simulator import SmartSimulator
from harness.traffic.model.smart import SHIPPED, SmartModel, to_frame
from harness.traffic.road_sides import RoadSides
from harness.traffic.rollouts import Interventions, simulated_agents
from harness.traffic.tokens.shapes import TOKEN_STEPS, token_kinds
from harness.traffic.tokens.tokeniser import apply
from scenarios.scenario import CURRENT_STEP, Kind, MapFeature, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

OFF_MAP: Final = 15.0
"""An agent has left the map where no piece of it is nearer than this, m; ours: four lanes beside the last one."""
_FARTHER: Final = 5.0
"""Who begins off the map (a car park) has left it this much farther out, m."""
_MAPS: Final = 32
"""Encoded maps kept, the least recently used dropped first."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedScene:
    """What does not change between episodes in one scene.

    Attributes:
        features: Features of the scenario; tells scenes of the same name apart.
        frame: [3] world pose of the frame that the model works in.
        encoded: The encoded map.
        pieces: [M, 3] poses of the map pieces, in the frame; kinds: [M] `PieceKind`.
        near: The pieces, for distances; None where there are none.
        road: Road edges for the shield; None without one.
    """

    features: tuple[MapFeature, ...]
    frame: Floats
    encoded: MapFeatures
    pieces: Floats
    kinds: NDArray[np.int64]
    near: cKDTree | None
    road: RoadSides | None


class TokenTraffic:
    """Moves the background by a model of motion tokens.

    Who is moved: every vehicle, pedestrian and cyclist but ego and opponent, from the first decision on at which it is
    present. Who appears later follows the log until then, and is taken to have come at constant velocity (as SMART's
    tokeniser extends tracks). Who is moved stays, even where its log ends (as in the sim agents challenge), until it
    has left the map. Who has to wait to appear, or has vanished, is not moved.

    Args:
        model: Who decides.
    """

    def __init__(self, model: SmartModel) -> None:
        self.model = model
        self._maps: Lru[str, EncodedScene] = Lru(_MAPS)
        self._shield: Shield | None = None

    @property
    def interventions(self) -> Interventions | None:
        """What the shield has done in the present episode; None without one."""
        return self._shield.interventions if self._shield is not None else None

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode.

        Raises:
            ScenarioError: The scene ends before step 10.
        """
        simulated_agents(scenario)
        self._log = np.concatenate(
            [scenario.position[..., :2], scenario.heading[..., None], scenario.velocity], axis=-1
        )
        self._log_valid, self._dt = scenario.valid, scenario.dt
        self._movable = np.isin(scenario.kinds, (Kind.VEHICLE, Kind.PEDESTRIAN, Kind.CYCLIST))
        self._movable[[agent for agent in (scenario.ego, scenario.opponent) if agent is not None]] = False
        self._kinds = token_kinds(scenario.kinds)
        seed = int(rng.integers(2**63 - 1))
        self._generator = torch.Generator().manual_seed(seed)
        self._map = self._encoded(scenario)
        self._shield = Shield(self._map.road) if self.model.shielded else None
        pool = self.model.driver_pool(scenario, self._map.frame, seed)
        self._rollout = self._begun(self._nobody(scenario), pool)
        agents = scenario.num_agents
        self._paths = np.zeros((agents, TOKEN_STEPS, 3))
        self._moved, self._gone = np.zeros(agents, bool), np.zeros(agents, bool)
        self._limit = np.full(agents, OFF_MAP)

    def _begun(self, nobody: AgentBatch, pool: DriverPool | None) -> Rollout:
        """The roll-out of the episode, with rows for all agents of the scene."""
        return self.model.start_encoded(self._map.encoded, nobody, 1, pool)

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Everybody at `step + 1`; see `TrafficPolicy`."""
        self._gone |= self._moved & ~valid
        self._moved &= valid
        if step % TOKEN_STEPS == 0:
            self._look(step, states, valid)
            if step >= CURRENT_STEP:
                self._decide(states, valid)
        following, present = logged_at(self._log, self._log_valid, step + 1)
        present &= ~self._gone
        moved = self._moved
        following[moved, : HEADING + 1] = self._paths[moved, step % TOKEN_STEPS]
        following[moved, VX : VY + 1] = (following[moved, :2] - states[moved, :2]) / self._dt
        return following, present | moved

    def _encoded(self, scenario: Scenario) -> EncodedScene:
        """The scene's map, encoded once."""

        def encode() -> EncodedScene:
            scene = self.model.tokens(scenario)
            batch = join_maps([scene], self.model.options.lanes).to(self.model.device)
            with torch.no_grad():
                encoded = self.model.network.encode_map(batch)
            near = cKDTree(scene.map_pose[:, :2]) if len(scene.map_pose) else None
            road = RoadSides.of(scenario, scene.frame, self.model.device) if self.model.shielded else None
            pieces = scene.map_pose.astype(np.float64)
            return EncodedScene(scenario.features, scene.frame, encoded, pieces, scene.map_kind, near, road)

        return self._maps.get(scenario.id, encode, lambda found: found.features is scenario.features)

    def _nobody(self, scenario: Scenario) -> AgentBatch:
        """All agents of the scene, none of them present yet."""
        agents = scenario.num_agents
        first = np.where(scenario.valid[:, CURRENT_STEP], CURRENT_STEP, scenario.valid.argmax(1))
        sizes = scenario.size[np.arange(agents), first].astype(np.float32)
        batch = AgentBatch(
            scene=torch.zeros(1, dtype=torch.long),
            kinds=torch.as_tensor(self._kinds)[None],
            sizes=torch.as_tensor(sizes)[None],
            token=torch.zeros(1, agents, 1, dtype=torch.long),
            motion=torch.zeros(1, agents, 1, 3),
            pose=torch.zeros(1, agents, 1, 3),
            valid=torch.zeros(1, agents, 1, dtype=torch.bool),
        )
        return batch.to(self.model.device)

    def _look(self, step: int, states: Floats, valid: Bools) -> None:
        """Tell the model what everybody has truly done since the last decision."""
        rollout, frame, device = self._rollout, self._map.frame, self.model.device
        pose = np.where(valid[:, None], to_frame(states[:, : HEADING + 1], frame), 0.0)
        speed = np.hypot(states[:, VX], states[:, VY])
        course = np.arctan2(states[:, VY], states[:, VX]) - frame[2]
        back = pose.copy()
        back[:, 0] -= TOKEN_STEPS * self._dt * speed * np.cos(course)
        back[:, 1] -= TOKEN_STEPS * self._dt * speed * np.sin(course)
        now = torch.as_tensor(pose, dtype=torch.float32, device=device)[None]
        here = torch.tensor(valid, device=device)[None]
        if step == 0:
            # No half second lies behind: this is where the first one begins.
            rollout.pose, rollout.valid = now, here
            return
        new = here & ~rollout.valid
        before = torch.as_tensor(back, dtype=torch.float32, device=device)[None]
        rollout.pose = torch.where(new[..., None], before, rollout.pose)
        rollout.valid = rollout.valid | new
        rollout.observe(now, here)

    def _decide(self, states: Floats, valid: Bools) -> None:
        """Choose everybody's next half second; those who have left go."""
        joined = self._movable & valid & ~self._gone & ~self._moved
        off = np.zeros(len(valid))
        if self._map.near is not None:
            off = self._map.near.query(to_frame(states[:, : HEADING + 1], self._map.frame)[:, :2])[0]
        self._limit[joined] = np.maximum(OFF_MAP, off[joined] + _FARTHER)
        self._moved |= joined
        self._remove(self._moved & self._beyond(states, valid, off > self._limit))
        token = self._chosen(states, valid)
        motions = self.model.vocabulary.motions[self._kinds, token, 1:].astype(np.float64)
        self._paths = apply(states[:, None, : HEADING + 1], motions)
        self._paths[..., 2] = wrap_angle(self._paths[..., 2])

    def _beyond(self, states: Floats, valid: Bools, off_map: Bools) -> Bools:
        """Who is too far away to stay; `off_map` [A] says who has left the map."""
        return off_map

    def _remove(self, left: Bools) -> None:
        """Let some of those who are moved [A] go."""
        self._gone |= left
        self._moved &= ~left

    def _chosen(self, states: Floats, valid: Bools) -> NDArray[np.int64]:
        """Tokens [A] of everybody; those of who is not moved mean nothing."""
        deciding = torch.as_tensor(self._moved, device=self.model.device)[None]
        token: NDArray[np.int64] = (
            self.model.choose(self._rollout, self._generator, self._shield, deciding)[0].cpu().numpy()
        )
        return token


class SmartTraffic(TokenTraffic):
    """Moves the background by SMART; a `TrafficPolicy`. Who is moved, and when, says `TokenTraffic`.

    Limits: The weights that come with the package have learnt from procedural scenes: `train_traffic` makes those of
    recorded scenes.

    Args:
        weights: File of `train_traffic`; None for the shipped model.
        device: Where it computes.
        options: Options of sampling, as for `SmartSimulator`: temperature, top_k (or k), method, continuity, shield;
            and how drivers drive: pace, gap, attention, spread, gap_spread (see `harness.traffic.conditions`).

    Attributes:
        path: File of the weights.

    Raises:
        WeightsError: The file cannot be used.
        ConfigError: Bad options, or weights whose head makes no tokens.
    """

    name = "smart"
    simulator = SmartSimulator
    """Rolls out whole scenes, many times at once."""

    def __init__(self, weights: str | Path | None = None, *, device: str = "cpu", **options: Any) -> None:
        if "choices" in options or "rule" in options:
            raise ConfigError("traffic 'smart': choices and rule compare whole roll-outs; an environment has only one.")
        self.path = SHIPPED if weights is None else Path(weights)
        super().__init__(SmartSimulator(weights, device=device, **options).model)
        if self.model.network.mixture is not None:
            raise ConfigError("traffic 'smart': these weights are of an ego policy (GMM head); give a token model.")
