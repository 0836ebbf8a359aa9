"""How likely models of traffic find held-out logs: negative log-likelihoods per scene, lower is better.

Paper: RosettaSim, equation 8. Every model is asked at the same decisions. What only some models predict is left out of
the others: SMART knows nothing of who enters, nor of the first motion of who has just entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import ConfigError
from harness.fitting.weights import written_by
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.smart import SmartModel
from harness.traffic.observers import Observer
from harness.traffic.open.config import DecisionLimits
from harness.traffic.open.decisions import UNSCORED, decisions, watched
from harness.traffic.open.network import UNKNOWN_MOTION
from harness.traffic.rosetta.config import ARCHITECTURE
from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.objective import Step
from harness.traffic.training.sequences import SequenceCloning, sequence_losses

LIKELIHOODS: Final = ("known_motion", "motion", "entering", "type", "grid", "yaw", "all")
"""Mean negative log-likelihood per scene, nats: of the next motion of those whose last motion is known, which every
model predicts; of everybody's; of all three tokens of newcomers and of the end; of each of them; of everything."""
_ENTERING: Final = ("type", "grid", "yaw")


class SceneLikelihood(NamedTuple):
    """A scene's numbers.

    Attributes:
        scene: Its name.
        values: By the names of `LIKELIHOODS`; NaN for what is not predicted, or not in the scene.
    """

    scene: str
    values: dict[str, float]


def load_model(file: str, device: str = "cpu") -> SmartModel:
    """A model of SMART or of RosettaSim, whichever the file holds.

    Raises:
        WeightsError: It is neither.
    """
    rosetta = written_by(Path(file), "architecture") == ARCHITECTURE
    return RosettaModel.load(file, device=device) if rosetta else SmartModel.load(file, device=device)


def likelihoods(
    model: SmartModel, scenes: TokenisedScenes, limits: DecisionLimits, observer: Observer = "ego"
) -> Iterator[SceneLikelihood]:
    """Numbers of every scene, in the first phase of its token grid.

    Args:
        model: SMART or RosettaSim.
        scenes: Held-out scenes, tokenised with everybody of the whole log.
        limits: How much of a decision is looked at, of a model that does not say so itself.
        observer: Around whom decisions are made, as in training.

    Raises:
        ConfigError: The model has a mixture head, which has no tokens.
    """
    if model.network.mixture is not None:
        raise ConfigError("likelihood: a mixture head has no tokens. Compare it by realism.")
    for number, entry in enumerate(scenes.entries):
        if entry.phase or entry.mirrored:
            continue
        tokens = scenes[number]
        agents, log = join_agents([tokens])
        maps = join_maps([tokens], model.options.lanes).to(model.device)
        generator = torch.Generator(model.device).manual_seed(0)
        step = Step(maps, agents.to(model.device), log, [tokens], scenes.scenario, generator)
        rosetta = isinstance(model.network, RosettaNetwork)
        with torch.no_grad():
            if rosetta:
                values = _of_rosetta(model.network, step, observer)
            else:
                values = _of_smart(model.network, step, limits, observer)
        yield SceneLikelihood(scenes.source.ids[entry.scene], values)


def _of_rosetta(network: SmartNetwork, step: Step, observer: Observer) -> dict[str, float]:
    """Likelihoods of everything that is predicted (equation 8)."""
    network = cast(RosettaNetwork, network)
    lesson = SequenceCloning(observer=observer).prepare(network, step)
    found = {name: values.double() for name, values in sequence_losses(network, step.maps, lesson).items()}
    batch = lesson.batch
    kept = batch.motion != UNSCORED
    tokens = lesson.agents.token[batch.scene[:, None], batch.agent.clamp(min=0), batch.moment[:, None] - 1]
    known = tokens[kept] != UNKNOWN_MOTION
    parts = {
        "known_motion": found["motion"][known],
        "motion": found["motion"],
        "entering": torch.cat([found[name] for name in _ENTERING]),
        **{name: found[name] for name in _ENTERING},
        "all": torch.cat(list(found.values())),
    }
    return {name: _mean(parts[name]) for name in LIKELIHOODS}


def _of_smart(network: SmartNetwork, step: Step, limits: DecisionLimits, observer: Observer) -> dict[str, float]:
    """The likelihood of the next motion of the same agents at the same moments, as far as SMART knows them."""
    (scene,) = step.scenes
    found, seen = decisions(scene, limits, observer=observer), watched(scene, observer).seen
    agent, motion = torch.as_tensor(found.agent), torch.as_tensor(found.motion)
    moment = torch.as_tensor(found.moment)[:, None].expand_as(agent)
    kept = motion != UNSCORED
    agent, moment, motion = agent[kept], moment[kept], motion[kept]
    # Whoever has come to where it is by no motion has none that SMART could read.
    there = torch.as_tensor(seen)
    known = there[agent, moment] & there[agent, moment - 1] & torch.as_tensor(scene.token_valid)[agent, moment - 1]
    agent, moment, motion = (values[known].to(step.agents.pose.device) for values in (agent, moment, motion))
    encoded = network.encode_map(step.maps, agents=step.agents)
    features, nodes = network(encoded, step.agents)
    rows = nodes.row[0, moment - 1, agent]
    before = step.agents.motion[0, agent, moment - 1]
    logits = network.logits(features[rows], step.agents.kinds[0, agent], before, encoded.table)
    losses = F.cross_entropy(logits, motion, reduction="none").double()
    return {**dict.fromkeys(LIKELIHOODS, float("nan")), "known_motion": _mean(losses)}


def _mean(values: Tensor) -> float:
    """Mean of numbers [n], NaN of none."""
    return float(values.mean()) if len(values) else float(np.nan)
