"""Running one stage, or several in a row."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import torch

from harness.errors import ConfigError, RunError
from harness.files import JsonDict, read_json, write_json
from harness.fitting.events import Advanced, Report, Row
from harness.fitting.weights import written_by
from harness.traffic.infgen.config import ARCHITECTURE as INFGEN_ARCHITECTURE
from harness.traffic.infgen.config import InfGenConfig
from harness.traffic.infgen.model import InfGenModel, infgen_around
from harness.traffic.model.config import SIZES
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.smart import SmartModel
from harness.traffic.rosetta.config import ARCHITECTURE, RosettaConfig
from harness.traffic.rosetta.model import RosettaModel, around_encoder
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.layout import GRID_RADIUS
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.infgen import InfGenTask
from harness.traffic.training.loop import WEIGHTS, TrafficTask, train_stage
from harness.traffic.training.sequences import RosettaTask
from harness.traffic.training.stages import (
    COMES_AND_GOES,
    FROM_SCRATCH,
    INFGEN,
    ROSETTA,
    check_head,
    make_objective,
)
from scenarios.scenario import ScenarioSource

log = logging.getLogger(__name__)

_DONE: Final = "stage.json"
"""Written when a stage is complete, so that a resumed recipe does not repeat it."""
_TASKS: Final[dict[type[SmartModel], type[TrafficTask]]] = {
    SmartModel: TrafficTask,
    RosettaModel: RosettaTask,
    InfGenModel: InfGenTask,
}
"""What trains models."""


@dataclass(frozen=True)
class StagePlan:
    """What to train.

    Attributes:
        stages: Names of single stages, in order.
        size: Size of a new model.
        init: Weights to start from, or None for a new model.
        vocabulary: Vocabulary of a new model; None for the shipped one.
        mirror: Whether scenes are trained on mirrored too.
        examples: Whom to learn from, and at which offsets of the token grid. Held-out scenes have one.
        scene: What a new model sees of a scene.
        dropout: Overrides the model's; None leaves it.
        loop: Optimisation of each stage.
        options: Options of the objectives.
        rosetta, infgen: What a new model of the stage of this name has behind its scene encoder.
        cache: Folder of tokenised scenes.
        info: Stored with the weights.
    """

    stages: tuple[str, ...]
    size: str
    init: Path | None
    vocabulary: Path | None
    mirror: bool
    examples: ExampleOptions
    scene: SceneOptions
    dropout: float | None
    loop: LoopConfig
    options: StageOptions
    cache: Path
    info: JsonDict = field(default_factory=dict)
    rosetta: RosettaConfig = field(default_factory=RosettaConfig)
    infgen: InfGenConfig = field(default_factory=InfGenConfig)


def starting_model(plan: StagePlan) -> SmartModel:
    """The model of `plan.init`, or a new one; for traffic that comes and goes one around its scene encoder.

    A RosettaSim goes on as it is, unless another sequence model than its own and than the usual one is asked for: then
    a new one begins around its scene encoder, which knows newcomers. In training, too, such models see the map as far
    as the grid reaches.

    Raises:
        ConfigError: A scene encoder is to stay as it is that has never learnt anything.
    """
    if len(plan.stages) != 1 or plan.stages[0] not in COMES_AND_GOES:
        return _starting_smart(plan)
    infgen = plan.stages == (INFGEN,)
    own = INFGEN_ARCHITECTURE if infgen else ARCHITECTURE
    if plan.options.encoder == "frozen":
        _check_frozen(plan.init, plan.stages[0], own)
    model: SmartModel
    if plan.init is not None and written_by(plan.init, "architecture") == own:
        model = InfGenModel.load(plan.init) if infgen else _rosetta_again(plan, plan.init)
        if plan.dropout is not None:
            model.network.set_dropout(plan.dropout)
    elif infgen:
        model = infgen_around(_starting_smart(plan), plan.infgen, plan.loop.seed)
    else:
        model = around_encoder(_starting_smart(plan), plan.rosetta, plan.loop.seed)
    options = model.options
    # Pieces within the grid are looked at, and each map layer looks one neighbour farther.
    needed = GRID_RADIUS + options.radius * model.network.config.map_layers
    model.options = replace(options, map_margin=max(options.map_margin, needed))
    return model


def _check_frozen(init: Path | None, stage: str, own: str) -> None:
    """Refuse a scene encoder that is to stay as chance has made it, and tell what of another one does."""
    if init is None:
        raise ConfigError(
            "--options.encoder frozen keeps the scene encoder as it is, and a new one has learnt nothing: give --init "
            f"FILE (of --stage bc or {stage})."
        )
    if written_by(init, "architecture") != own:
        log.warning(
            "%s knows no newcomers: the vector that stands for their unknown motion stays as it was drawn. Begin with "
            "weights of --stage %s%s.",
            init,
            stage,
            ", around whose scene encoder a new sequence model can be set" if stage == ROSETTA else "",
        )


def _rosetta_again(plan: StagePlan, file: Path) -> RosettaModel:
    model, wanted = RosettaModel.load(file, base=plan.rosetta.base), plan.rosetta.sequence_model
    if wanted in (model.network.rosetta.sequence_model, RosettaConfig.sequence_model):
        return model
    return around_encoder(model, plan.rosetta, plan.loop.seed)


def _starting_smart(plan: StagePlan) -> SmartModel:
    if plan.init is not None:
        model = SmartModel.load(plan.init)
        if plan.stages[0] == "gmm" and model.network.mixture is None:
            model = _with_mixture(model, plan.loop.seed)
        if plan.dropout is not None:
            model.network.set_dropout(plan.dropout)
        return model
    torch.manual_seed(plan.loop.seed)
    config = SIZES[plan.size]
    if plan.dropout is not None:
        config = replace(config, dropout=plan.dropout)
    if plan.stages[0] == "gmm":
        config = replace(config, head="gmm")
    return SmartModel(SmartNetwork(config, Vocabulary.load(plan.vocabulary)), plan.scene)


def _with_mixture(tokens: SmartModel, seed: int) -> SmartModel:
    """The same model with a new mixture head beside its token head."""
    torch.manual_seed(seed)
    network = SmartNetwork(replace(tokens.network.config, head="gmm"), tokens.vocabulary)
    network.load_state_dict({**network.state_dict(), **tokens.network.state_dict()})
    return SmartModel(network, tokens.options, {"encoder": tokens.info})


def run_stages(
    plan: StagePlan, train: ScenarioSource, val: ScenarioSource, folder: Path, report: Report
) -> tuple[Path, dict[str, list[Row]]]:
    """Run the stages of a plan; each starts from the best weights of the one before.

    Args:
        plan: What to do.
        train, val: Scenes.
        folder: Run folder; a recipe uses one sub-folder per stage, and goes on where it was stopped.
        report: Takes the events.

    Returns:
        The final weights file, and the epochs of every stage.

    Raises:
        ConfigError: The weights to start from have another head than the stages train, or not everybody is learnt from
            where newcomers are.
        RunError: Unusable data or checkpoints.
    """
    if (learnt := set(COMES_AND_GOES) & set(plan.stages)) and plan.examples.trained != "all":
        raise ConfigError(f"--stage {min(learnt)} learns who enters: give --examples.trained all.")
    model = starting_model(plan)
    check_head(plan.stages, model.network, str(plan.init))
    sets: dict[str, TokenisedScenes] = {}
    rolls_out = plan.stages[0] not in FROM_SCRATCH
    once = replace(plan.examples, phases=1)
    for split, source, mirror, examples in (("train", train, plan.mirror, plan.examples), ("val", val, False, once)):

        def progress(done: int, total: int, split: str = split) -> None:
            report(Advanced(f"tokens ({split})", done, total))

        sets[split] = TokenisedScenes(
            source,
            model.vocabulary,
            model.options,
            plan.cache,
            examples=examples,
            mirror=mirror,
            simulated=rolls_out,
            progress=progress,
        )
    rows: dict[str, list[Row]] = {}
    single = len(plan.stages) == 1
    for number, name in enumerate(plan.stages):
        part = folder if single else folder / f"{number + 1}_{name}"
        part.mkdir(exist_ok=True)
        title = name if single else part.name
        model, rows[title] = _run_stage(plan, name, title, model, sets, part, report)
    final = folder / _TASKS[type(model)].weights
    if not single:
        model.save(final)
    return final, rows


def _run_stage(
    plan: StagePlan,
    name: str,
    title: str,
    model: SmartModel,
    sets: dict[str, TokenisedScenes],
    part: Path,
    report: Report,
) -> tuple[SmartModel, list[Row]]:
    done = part / _DONE
    if done.exists():
        rows = read_json(done)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RunError(f"{done} holds no epochs of a stage. Remove it to train the stage again.")
        return SmartModel.load(part / WEIGHTS), rows
    info = {**plan.info, "stages": [*model.info.get("stages", []), name]}
    objective = make_objective(name, plan.options)
    task = _TASKS[type(model)](
        plan.loop, objective, model.network, model.options, sets["train"], sets["val"], part, info
    )
    best, rows = train_stage(task, asdict(plan.options), part=title, report=report)
    # A single stage may be resumed with more epochs; a stage of a recipe is over.
    if len(plan.stages) > 1:
        write_json(done, rows)
    return best, rows
