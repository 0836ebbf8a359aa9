"""Train SEAL's learned parts from drives of an ego against every candidate of every scene.

The run folder then attacks as `--adversary seal --prior FOLDER/prior.safetensors`. The weights that ship with the
package were made by this command on procedural scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from adversaries.seal.config import FitConfig
from harness.commands.options import DataOptions, RunOptions, part
from harness.commands.progress import FitDisplay
from harness.commands.scaffold import Session, command
from harness.fitting.events import Advanced


@dataclass(frozen=True)
class TrainSealConfig(RunOptions, DataOptions):
    """Simulate an ego against every candidate, then learn to foretell what comes of each, and skills."""

    split: str = "train"
    """Split of the data: `train`, `val`, `test`, or `all` for every scene. A scene costs 33 simulated drives, some 5 s
    of one core."""
    prior: Path | None = None
    """Motion prior weights (safetensors) that draw the candidates; the shipped ones by default."""
    sut: str = "idm"
    """System under test in the roll-outs, the ego that is attacked (SEAL: an intelligent driver)."""
    rollouts: Path | None = None
    """Folder of roll-outs to use and add to; `rollouts/` in the run folder by default."""
    seed: int = 0
    """Seed of episodes, initial weights and batches."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How each part is learnt."""


def run(config: TrainSealConfig, session: Session) -> Path:
    """Roll out, learn, write `seal.safetensors` and the prior it belongs to; return the run folder.

    Raises:
        GauntletError: Unusable data, weights, options or folder.
    """
    from adversaries.prior.prior import MotionPrior
    from adversaries.seal.make import learn
    from adversaries.seal.rollouts import claim_rollouts, roll_out
    from harness.attacks.every_candidate import collect
    from harness.episodes.policies import load_policy
    from harness.files import write_json
    from harness.report.training_tables import seal_table

    prior, source = MotionPrior.load(config.prior, 4), config.open()
    with session.open_run(config, source) as record, FitDisplay(session.console, every=10) as display:
        place = config.rollouts or record.path / "rollouts"
        place.mkdir(parents=True, exist_ok=True)
        claim_rollouts(place, prior.network, config.sut, config.seed)
        names = collect(
            source,
            load_policy(config.sut),
            partial(roll_out, prior),
            place,
            seed=config.seed,
            report=lambda done, total: display(Advanced("simulating", done, total)),
        )
        info = {"data": config.origin, "policy": config.sut}
        model, history = learn(place, names, source, config.fit, config.seed, info=info, report=display)
        model.save(record.path / "seal.safetensors")
        prior.save(record.path / "prior.safetensors")
        write_json(record.path / "history.json", history)
    session.console.print(seal_table(history).rich())
    session.say(f"use it as: --adversary seal --prior {record.path.resolve() / 'prior.safetensors'}")
    return record.path


@command(TrainSealConfig, __doc__, renamed={"--train": part(), "--policy": "--sut"}, may_differ=("scenes", "rollouts"))
def main(config: TrainSealConfig, session: Session) -> None:
    """Make the weights, print the table and where everything lies."""
    run(config, session)


if __name__ == "__main__":
    main()
