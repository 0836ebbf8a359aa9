"""`SmartModel`: weights on disk, scenes in, decisions and roll-outs out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from harness.errors import WeightsError
from harness.files import JsonDict, write_bytes
from harness.fitting.stored import settings_from_json
from harness.fitting.weights import check_layers, fill, read_tensors
from harness.traffic.conditions import Conditions
from harness.traffic.model.batch import AgentBatch, join_agents, join_maps
from harness.traffic.model.config import ARCHITECTURE, SmartConfig
from harness.traffic.model.drivers import DriverPool
from harness.traffic.model.network import MapFeatures, SmartNetwork
from harness.traffic.model.rollout import Rollout
from harness.traffic.model.rules import Rule
from harness.traffic.model.shielded import Shield
from harness.traffic.road_sides import RoadSides
from harness.traffic.rollouts import SimulatedScene
from harness.traffic.sampling import Sampling, draw, keep_best, top_k, warm_k
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.scene import CURRENT_TOKEN, SceneTokens, tokenise_scene
from harness.traffic.tokens.shapes import TOKEN_STEPS, compose
from harness.traffic.tokens.vocabulary import Vocabulary
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

SHIPPED: Final = Path(__file__).parent / "weights" / "smart_nano.safetensors"
"""Nano weights trained on procedural scenes, part of the package."""
SCENE_LIMITS: Final = {"map_limit": 100_000.0, "lanes": 256.0, "edges": 256.0, "around": 256.0}
"""Largest options of a stranger's file: each is the width or the length of a table of every scene."""
_BRAKING_WAYS: Final = (0.425, 0.85)
"""What braking takes off the way of half a second, m: at 3.4 m/s² (the shield's) and at twice that, hard on a dry road.
"""
_WORLDS: Final = 1024
"""Agents times roll-outs that are decided at once, to bound memory."""


class SmartModel:
    """A trained traffic model.

    Paper: SMART (Wu et al. 2024); CAT-K (Zhang et al. 2025).

    Args:
        network: The model; put into evaluation mode.
        options: How scenes are tokenised.
        info: What the weights file says of its making.
        sampling: How roll-outs choose tokens.
        rule: Scoring rule for test-time scaling (`sampling.choices` > 1); None for the model's own likelihood.
    """

    name = "smart"

    def __init__(
        self,
        network: SmartNetwork,
        options: SceneOptions | None = None,
        info: JsonDict | None = None,
        sampling: Sampling | None = None,
        rule: Rule | None = None,
    ) -> None:
        self.network = network.eval()
        self.options = options or SceneOptions()
        self.info = info or {}
        self.sampling = sampling or Sampling()
        self.rule = rule
        self.shielded = False
        """Whether `simulate` chooses tokens behind a shield."""
        self.conditions = Conditions()
        """How drivers drive in `simulate`."""
        self.vocabulary = Vocabulary(network.motions.cpu().numpy().copy(), network.pieces.cpu().numpy().copy())

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.motions.device

    # ---- files

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        sampling: Sampling | None = None,
        device: str = "cpu",
    ) -> SmartModel:
        """Read weights; None means the shipped ones.

        Raises:
            WeightsError: Missing file, not safetensors, another architecture, or tensors that do not fit.
        """
        file = SHIPPED if path is None else Path(path)
        missing = (
            "no traffic model at {file}. Train one with `python -m harness.train_traffic`, or leave the path out "
            "to use the shipped one."
        )
        tensors, header = read_tensors(file, ("architecture", ARCHITECTURE), missing)
        config = SmartConfig.from_dict(header.get("config", {}), str(file))
        options = settings_from_json(SceneOptions, header.get("scene", {}), str(file), SCENE_LIMITS)
        network = build_network(config, tensors, str(file))
        return cls(network.to(device), options, header.get("info"), sampling)

    def save(self, path: str | os.PathLike[str], info: JsonDict | None = None, *, half: bool = False) -> None:
        """Write weights, vocabulary and configuration to a safetensors file, all or nothing.

        Args:
            path: Where.
            info: What to say of the making, instead of the model's own.
            half: Whether weights are written in float16, for half the size; the vocabulary is not.
        """
        header = self._header()
        header["info"] = json.dumps(info if info is not None else self.info)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        if half:
            exact = {name for name, _ in self.network.named_buffers()}
            tensors = {name: value if name in exact else value.half() for name, value in tensors.items()}
        data = save(tensors, header)
        write_bytes(Path(path), data)

    def _header(self) -> dict[str, str]:
        """What a weights file says of the model, besides its making."""
        return {
            "architecture": ARCHITECTURE,
            "config": json.dumps(self.network.config.to_dict()),
            "scene": json.dumps(vars(self.options)),
        }

    # ---- scenes

    def tokens(self, scenario: Scenario, agents: NDArray[np.intp] | None = None) -> SceneTokens:
        """What the model knows of a scene at the current step.

        Args:
            scenario: The scene.
            agents: Whom to keep; by default all that are present at the current step. A host adds those that it will
                let in later (absent so far; see `Rollout.observe`).
        """
        return tokenise_scene(scenario, self.vocabulary, self.options, agents=agents)

    @torch.no_grad()
    def start(self, scene: SceneTokens, worlds: int = 1) -> Rollout:
        """A roll-out of `worlds` copies of a scene from the current step.

        Its poses are in the frame of the scene (`scene.frame`); see `to_frame` and `from_frame`.
        """
        maps = self.network.encode_map(join_maps([scene], self.options.lanes).to(self.device))
        batch, _ = join_agents([scene])
        return self._begun(scene, maps, batch.to(self.device), worlds)

    def _begun(
        self, scene: SceneTokens, maps: MapFeatures, batch: AgentBatch, worlds: int, pool: DriverPool | None = None
    ) -> Rollout:
        """As `start_encoded`, of one scene whose map is encoded and whose agents are a batch."""
        return self.start_encoded(maps, batch, worlds, pool)

    def start_encoded(
        self, maps: MapFeatures, batch: AgentBatch, worlds: int, pool: DriverPool | None = None
    ) -> Rollout:
        """As `start`, with the map encoded already (of a batch of one or more scenes), by drivers of a pool."""
        first = batch.first(CURRENT_TOKEN).repeat(worlds)
        count, agents = first.kinds.shape
        drivers = pool.drivers(count, agents, self.device) if pool is not None else None
        return Rollout(self.network, maps, first, drivers)

    def choose(
        self,
        rollout: Rollout,
        generator: torch.Generator,
        shield: Shield | None = None,
        decides: Tensor | None = None,
    ) -> Tensor:
        """Sampled next tokens [W, A]; behind a shield those of agents [W, A] that it is to decide for."""
        return choose(rollout, rollout.logits(), self.sampling, generator, shield, decides)

    def shield(self, scenario: Scenario, frame: NDArray[np.float64]) -> Shield | None:
        """A shield for roll-outs of a scene in a frame [3]; None where the model goes without."""
        return Shield(RoadSides.of(scenario, frame, self.device)) if self.shielded else None

    def driver_pool(self, scenario: Scenario, frame: NDArray[np.float64], seed: int) -> DriverPool | None:
        """Drivers for roll-outs of a scene in a frame [3]; None where they drive just as the model says."""
        return None if self.conditions.neutral else DriverPool(self.conditions, scenario, frame, seed)

    # ---- whole roll-outs

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll a scene out from step 10 for 8 s; implements `SceneSimulator`.

        z is copied from the current step. With `sampling.choices` > 1 the best of that many roll-outs is kept for
        each one asked for.
        """
        scene = self.tokens(scenario)
        generator = torch.Generator().manual_seed(seed)
        shield = self.shield(scenario, scene.frame)
        pool = self.driver_pool(scenario, scene.frame, seed)
        count = rollouts * self.sampling.choices
        states, scores = self.unroll(scene, count, generator, shield=shield, pool=pool)
        if self.sampling.choices > 1:
            if self.rule is not None:
                scores = self.rule(states, scene)
            states = states[keep_best(scores, rollouts)]
        world = from_frame(states.double().cpu().numpy(), scene.frame)
        height = scenario.position[scene.agents, CURRENT_STEP, 2]
        z = np.broadcast_to(height[None, :, None, None], (*world.shape[:3], 1))
        out = np.concatenate([world[..., :2], z, world[..., 2:]], -1)
        return SimulatedScene(out, scene.agents.astype(np.intp), shield.interventions if shield else None)

    @torch.no_grad()
    def unroll(
        self,
        scene: SceneTokens,
        rollouts: int,
        generator: torch.Generator,
        steps: int = FUTURE_STEPS,
        shield: Shield | None = None,
        pool: DriverPool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Roll-outs in the frame of the scene, with or without a shield, by drivers of a pool or as the model is.

        Returns:
            [R, A, steps, 3] x, y, heading every 0.1 s, and the mean log-likelihood [R] of the sampled tokens, or of the
            sampled components of a mixture.
        """
        maps = self.network.encode_map(join_maps([scene], self.options.lanes).to(self.device))
        batch, _ = join_agents([scene])
        batch = batch.to(self.device)
        at_once = max(1, _WORLDS // max(len(scene.agents), 1))
        parts = []
        for begin in range(0, rollouts, at_once):
            count = min(at_once, rollouts - begin)
            parts.append(self._unroll(self._begun(scene, maps, batch, count, pool), steps, generator, shield))
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _unroll(
        self, rollout: Rollout, steps: int, generator: torch.Generator, shield: Shield | None
    ) -> tuple[Tensor, Tensor]:
        states, likelihood = [], torch.zeros(rollout.worlds, device=self.device)
        decisions = -(-steps // TOKEN_STEPS)
        for _ in range(decisions):
            if self.network.mixture is not None:
                motion, path, score = self._mixture_motion(rollout, generator, shield)
                states.append(path)
                likelihood += score.mean(-1)
                rollout.observe(compose(rollout.pose, motion), rollout.valid)
                continue
            logits = rollout.logits()
            token = choose(rollout, logits, self.sampling, generator, shield)
            likelihood += logits.log_softmax(-1).gather(-1, token[..., None])[..., 0].mean(-1)
            states.append(rollout.trajectory(token))
            rollout.advance(token)
        return torch.cat(states, 2)[:, :, :steps], likelihood / decisions

    def _mixture_motion(
        self, rollout: Rollout, generator: torch.Generator, shield: Shield | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A sampled component's mean (CAT-K §10.3), the path to it and the component's log-probability.

        The path is straight in time, in the agent's frame. Behind a shield the candidates are the means of all
        components, then the same ways braking: a mixture has no vocabulary to fall back on.
        """
        mixture = rollout.mixture()
        means, logits, temperature = mixture.poses(), mixture.logits, self.sampling.temperature
        if rollout.drivers is not None:
            logits = rollout.drivers.prefer(rollout.batch(), logits, means)
        wanted = top_k(logits, self.sampling.k)
        share = torch.arange(1, TOKEN_STEPS + 1, device=wanted.device) / TOKEN_STEPS
        if shield is None:
            chosen = draw(wanted, temperature, generator)
        else:
            means = torch.cat([means, *(_shortened(means, way) for way in _BRAKING_WAYS)], 2)
            paths = means[..., None, :] * share[:, None]
            chosen = shield.choose(rollout, logits, wanted, temperature, generator, motions=paths)
        motion = means.gather(2, chosen[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
        path = compose(rollout.pose[:, :, None], motion[:, :, None] * share[:, None])
        component = chosen[..., None] % wanted.shape[-1]
        return motion, path, mixture.logits.log_softmax(-1).gather(-1, component)[..., 0]


def _shortened(motions: Tensor, way: float) -> Tensor:
    """Motions [..., 3] that stop some way (m) earlier, but do not go back."""
    length = motions[..., :2].square().sum(-1, keepdim=True).sqrt()
    return motions * (1 - way / length.clamp(min=1e-6)).clamp(min=0)


def choose(
    rollout: Rollout,
    logits: Tensor,
    sampling: Sampling,
    generator: torch.Generator,
    shield: Shield | None = None,
    decides: Tensor | None = None,
) -> Tensor:
    """Tokens [W, A] by a sampling method and what drivers desire, from logits [W, A, V]; for the last two arguments see
    `Shield.choose`.
    """
    if rollout.drivers is not None:
        logits = rollout.drivers.prefer(rollout.batch(), logits, rollout.network.motions[rollout.kinds, :, -1])
    if sampling.method == "warm_k":
        wanted = warm_k(logits, rollout.continuity(), sampling.k, sampling.continuity)
    else:
        wanted = top_k(logits, sampling.k)
    if shield is not None:
        return shield.choose(rollout, logits, wanted, sampling.temperature, generator, decides)
    return draw(wanted, sampling.temperature, generator)


def build_network(config: SmartConfig, tensors: dict[str, Tensor], where: str) -> SmartNetwork:
    """A network with these weights; its vocabulary is among them.

    Raises:
        WeightsError: They do not fit.
    """
    if not {"motions", "pieces"} <= tensors.keys():
        raise WeightsError(f"{where}: no vocabulary among the tensors.")
    vocabulary = Vocabulary(tensors["motions"].numpy().copy(), tensors["pieces"].numpy().copy())
    check_layers(where, tensors, map_layers=config.map_layers, agent_layers=config.agent_layers)
    return cast(SmartNetwork, fill(lambda: SmartNetwork(config, vocabulary), tensors, where))


def to_frame(poses: NDArray[np.float64], frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """World poses [..., 3] in the frame of a scene."""
    from harness.traffic.tokens.tokeniser import relative_poses

    return relative_poses(poses, frame)


def from_frame(poses: NDArray[np.float64], frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses [..., 3] of the frame of a scene, in the world."""
    from harness.traffic.tokens.tokeniser import apply

    return apply(frame, poses)
