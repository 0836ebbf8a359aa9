"""TD3 must learn a trivial driving task, in either precision, with updates after every step or in blocks."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from harness.commands.runs import RunDirectory
from harness.training.evaluation import summarise
from tests.unit.training.fakes import make_trainer, tiny_config


@pytest.mark.parametrize(
    "td3",
    [{"update_every": 1}, {"update_every": 10}, {"precision": "bfloat16"}],
    ids=["every-step", "blocks", "bfloat16"],
)
def test_the_ego_learns_to_arrive(tmp_path, td3: dict) -> None:
    config = tiny_config(adversary="none", steps=2000, eval_every=2000, checkpoint_every=2000, td3=td3)
    with RunDirectory.create(tmp_path / "run", "train_ego", asdict(config)) as run:
        trainer = make_trainer(config, run)
        untrained = summarise([vars_of(row) for row in trainer.evaluate()])[0].columns["completion"].mean
        trainer.run()
        trained = [row for row in summarise(run.records("evaluation")) if row.step >= 2000]
    assert untrained < 0.9
    assert trained[0].columns["completion"].mean > 0.99
    assert trained[0].columns["arrived"].mean == 1.0
    early = [record["reward"] for record in run.records("episodes")[:5]]
    late = [record["reward"] for record in run.records("episodes")[-5:]]
    assert sum(late) > 2 * sum(early)


def vars_of(row) -> dict:
    """A row as a record."""
    return {name: getattr(row, name) for name in row.__slots__}
