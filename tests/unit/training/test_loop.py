"""The loop on a fake task: schedules, attacks, records, failures, kills and exact resumption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.commands.runs import RunDirectory
from harness.errors import AdversaryError, EngineError, GauntletError, PolicyError, RunError
from harness.training import checkpoint
from harness.training.loop import MAX_FAILURES
from harness.training.rounds import EPISODES, EVALUATION
from tests.unit.training.fakes import FakeEnv, FakeSource, make_trainer, tiny_config

ROOT = Path(__file__).parents[3]


def finished(folder: Path, **changes) -> tuple[RunDirectory, object]:
    config = tiny_config(**changes)
    run = RunDirectory.create(folder, "train_ego", asdict(config))
    trainer = make_trainer(config, run)
    trainer.run()
    return run, trainer


def timeless(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "attack_ms"} for record in records]


def test_a_run_leaves_every_episode_evaluation_and_checkpoint(tmp_path) -> None:
    run, trainer = finished(tmp_path / "run")
    episodes, rows = run.records(EPISODES), run.records(EVALUATION)
    assert [record["episode"] for record in episodes] == list(range(trainer.progress.episode))
    assert sum(record["steps"] for record in episodes) == trainer.progress.step >= 600
    assert trainer.parts.learner.updates == trainer.progress.step - 101, "one update per step after the warm-up"
    assert {record["scene"] for record in episodes} == {"scene-0", "scene-1", "scene-2"}
    steps = sorted({row["step"] for row in rows})
    assert len(steps) == 3
    assert steps[-1] == trainer.progress.step
    assert len(rows) == 3 * 2 * 2
    assert {row["scene"] for row in rows} == {"scene-3", "scene-4"}, "evaluation uses test scenes only"
    assert all(row["attacked"] == (row["stage"] == "adversarial") for row in rows)
    assert checkpoint.exists(run.path)
    assert (run.path / "policy.zip").is_file()


def test_attacks_follow_the_curriculum_and_see_the_ego(tmp_path) -> None:
    run, trainer = finished(tmp_path / "run", curriculum="cat", steps=1200, eval_every=5000)
    episodes = run.records(EPISODES)
    for record, before in zip(episodes[1:], episodes, strict=False):
        assert record["probability"] == pytest.approx(min(0.9, 1.8 * before["step"] / 1200))
    late = [record["attacked"] for record in episodes if record["step"] > 700]
    assert np.mean(late) > 0.7
    assert not any(record["attacked"] for record in episodes[:2])
    contexts = trainer.parts.adversary.contexts
    assert len(contexts) == sum(record["attacked"] for record in episodes)
    assert all(len(context.ego_trajectories) == 5 for context in contexts)
    assert any(not np.array_equal(c.ego_trajectories[-1].states, c.scenario.states(0)) for c in contexts)


def test_no_adversary_never_attacks_in_training_but_is_evaluated_under_attack(tmp_path) -> None:
    run, _ = finished(tmp_path / "run", adversary="none")
    assert not any(record["attacked"] for record in run.records(EPISODES))
    assert any(row["attacked"] for row in run.records(EVALUATION))


@pytest.mark.parametrize(
    ("published", "observation", "terminal"), [(False, "cat", 0.0), (True, "cat", 1.0), (False, "route", 1.0)]
)
def test_time_outs_are_ends_as_published_and_where_the_time_is_known(
    tmp_path, published: bool, observation: str, terminal: float
) -> None:
    options = {"td3": {"timeouts_terminal": published}, "observation": observation}
    _, trainer = finished(tmp_path / "run", train_horizon=4, adversary="none", steps=300, **options)
    memory = trainer.parts.learner.memory
    rows = memory.rows(0, memory.written)
    last = np.flatnonzero(rows["usable"] & ~np.roll(rows["usable"], -1))
    assert len(last) > 50
    assert rows["terminal"][last].mean() == terminal, "4 steps reach neither goal nor edge"


def test_runs_repeat_exactly_whatever_the_number_of_threads(tmp_path) -> None:
    first, _ = finished(tmp_path / "a", td3={"threads": 1})
    second, _ = finished(tmp_path / "b", td3={"threads": 2})
    for name in (EPISODES, EVALUATION):
        assert timeless(first.records(name)) == timeless(second.records(name))


KILLED_RUN = """
import os, signal, sys
from dataclasses import asdict
from pathlib import Path
from harness.commands.runs import RunDirectory
from harness.training.rounds import Watcher
from tests.unit.training.fakes import make_trainer, tiny_config

class Killer(Watcher):
    def step(self, progress):
        if progress.step >= 470:
            os.kill(os.getpid(), signal.SIGKILL)

config = tiny_config(curriculum="adaptive")
run = RunDirectory.create(Path(sys.argv[1]), "train_ego", asdict(config))
make_trainer(config, run, watcher=Killer()).run()
"""


def test_a_killed_run_goes_on_exactly_where_it_was(tmp_path) -> None:
    whole, trainer = finished(tmp_path / "whole", curriculum="adaptive")
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED_RUN, str(tmp_path / "killed")], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    with open(tmp_path / "killed" / "episodes.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 480, "epi')  # what a kill in the middle of a write leaves
    run = RunDirectory.reopen(tmp_path / "killed", "train_ego")
    resumed = make_trainer(tiny_config(curriculum="adaptive"), run)
    resumed.resume()
    assert 400 <= resumed.progress.step < 470, "the last checkpoint before the kill"
    resumed.run()
    for name in (EPISODES, EVALUATION):
        assert timeless(run.records(name)) == timeless(whole.records(name))
    assert resumed.parts.learner.losses() == trainer.parts.learner.losses(), "the means that are recorded go on too"
    first, second = trainer.parts.learner.state(), resumed.parts.learner.state()
    assert all(bool((first[name] == second[name]).all()) for name in first)
    assert resumed.scheduler.state_dict() == trainer.scheduler.state_dict()


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path) -> None:
    config = tiny_config()
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    run.append(EPISODES, {"step": 12, "episode": 0})
    trainer = make_trainer(config, run)
    trainer.resume()
    assert trainer.progress.step == 0
    assert run.records(EPISODES) == []


def test_a_stop_request_ends_with_a_checkpoint(tmp_path) -> None:
    config = tiny_config()
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run)
    trainer.stop_requested = True
    trainer.watcher.step = lambda progress: None
    trainer.run()
    assert trainer.progress.step == 0
    trainer.stop_requested = False
    trainer.watcher.step = lambda progress: setattr(trainer, "stop_requested", progress.step > 150)
    trainer.run()
    manifest = json.loads((run.path / "checkpoint" / "manifest.json").read_text())
    assert 150 < manifest["step"] == trainer.progress.step < 200


@pytest.mark.parametrize("when", [200, 600], ids=["in the midst of training", "in the last evaluation"])
def test_a_run_that_is_stopped_in_an_evaluation_makes_it_again(tmp_path, when) -> None:
    whole, trainer = finished(tmp_path / "whole", curriculum="adaptive")
    config = tiny_config(curriculum="adaptive")
    run = RunDirectory.create(tmp_path / "stopped", "train_ego", asdict(config))
    stopped = make_trainer(config, run)
    stopped.watcher.evaluating = lambda step, done, total: setattr(
        stopped, "stop_requested", step >= when and done == 2
    )
    stopped.run()
    assert stopped.progress.step >= when
    assert not stopped.finished
    assert not checkpoint.complete(run.path, config.steps)
    assert run.records(EVALUATION)[-1]["step"] == stopped.progress.step, "it has rows of the half evaluation"
    resumed = make_trainer(config, run)
    resumed.resume()
    assert resumed.progress.step == stopped.progress.step
    resumed.run()
    assert resumed.finished
    assert checkpoint.complete(run.path, config.steps)
    for name in (EPISODES, EVALUATION):
        assert timeless(run.records(name)) == timeless(whole.records(name))
    assert resumed.parts.learner.losses() == trainer.parts.learner.losses(), "the means that are recorded go on too"
    first, second = trainer.parts.learner.state(), resumed.parts.learner.state()
    assert all(bool((first[name] == second[name]).all()) for name in first)


def damages(folder):
    """Ways to damage the files of a checkpoint, by name."""
    files = {path.name.split("-")[0].split(".")[0]: path for path in folder.iterdir()}
    model, ego, replay, manifest = (files[name] for name in ("model", "ego", "replay", "manifest"))
    known = json.loads(manifest.read_text())

    def with_rows(path, **arrays):
        with np.load(path) as found:
            changed = dict(found) | arrays
        return lambda: np.savez(path, **changed)

    yield "no tensors", lambda: model.write_bytes(b"not tensors")
    yield "half a model", lambda: model.write_bytes(model.read_bytes()[:-100])
    yield "no model", model.unlink
    for path in (ego, replay):
        yield f"an empty {path.name}", lambda path=path: path.write_bytes(b"")
        yield f"half of {path.name}", lambda path=path: path.write_bytes(path.read_bytes()[:-100])
        yield f"no {path.name}", path.unlink
    yield "too few rows", with_rows(replay, usable=np.ones(3, bool))
    yield "rows of another kind", with_rows(replay, observation=np.zeros((3, 2), np.float32))
    yield "drives that do not fit", with_rows(ego, counts=np.array([10**9]))
    yield "no drives", with_rows(ego, counts=np.array(["a"]))
    yield "half a manifest", lambda: manifest.write_bytes(manifest.read_bytes()[:50])
    for change in (
        {"step": "../../x"},
        {"step": -5},
        {"updates": 1.5},
        {"episode": None},
        {"segments": [["../x", 1]]},
        {"segments": [1]},
        {"segments": [[5, 5]]},
        {"curriculum": 5},
        {"curriculum": {}},
        {"seconds": "long"},
        {"other": 1},
    ):
        text = json.dumps(known | change)
        yield f"{change}", lambda text=text: manifest.write_text(text)
    yield "a list", lambda: manifest.write_text("[]")


def test_a_damaged_checkpoint_is_one_line_that_says_how_to_go_on(tmp_path) -> None:
    run, _ = finished(tmp_path / "run", curriculum="adaptive")
    folder = run.path / "checkpoint"
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    trainer = make_trainer(tiny_config(curriculum="adaptive"), run)
    for name, damage in damages(folder):
        damage()
        with pytest.raises(GauntletError, match=r"checkpoint|saved|curriculum") as caught:
            trainer.resume()
        assert len(str(caught.value).splitlines()) == 1, name
        for path, data in whole.items():
            path.write_bytes(data)
    trainer.resume()


def test_a_policy_that_diverges_stops_the_run_with_one_clear_error(tmp_path) -> None:
    config = tiny_config()
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run)
    trainer.parts.learner.model.actor.mu[0].weight.data.fill_(float("nan"))
    with pytest.raises(PolicyError, match=r"nan.*updates"):
        trainer.run()


def test_an_observation_that_is_not_finite_stops_the_run(tmp_path) -> None:
    class Broken(FakeEnv):
        def _observation(self):
            return super()._observation() * np.float32("nan")

    config = tiny_config(td3={"warmup": 40})
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run, Broken(FakeSource(5)))
    with pytest.raises(PolicyError, match="observation is not finite"):
        trainer.run()


class Fragile(FakeEnv):
    """Cannot simulate scene 1."""

    broken = ("scene-1",)

    def reset(self, *, seed=None, options=None):
        if self.source.ids[options["scenario"]] in self.broken:
            raise EngineError("no road")
        return super().reset(seed=seed, options=options)


def test_scenes_that_fail_are_counted_when_the_user_asked_to_skip(tmp_path) -> None:
    config = tiny_config(on_error="skip")
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run, Fragile(FakeSource(5)))
    trainer.run()
    failed = [record for record in run.records(EPISODES) if record["error"]]
    assert len(failed) == trainer.progress.failed_episodes > 0
    assert {record["scene"] for record in failed} == {"scene-1"}


def test_scenes_that_fail_raise_otherwise(tmp_path) -> None:
    config = tiny_config()
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run, Fragile(FakeSource(5)))
    with pytest.raises(EngineError, match="no road"):
        trainer.run()


def test_a_run_in_which_everything_fails_gives_up(tmp_path) -> None:
    env = Fragile(FakeSource(5))
    env.broken = env.source.ids
    config = tiny_config(on_error="skip")
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run, env)
    with pytest.raises(RunError, match=str(MAX_FAILURES)):
        trainer.run()


def test_an_adversary_that_cannot_attack_leaves_a_normal_episode_and_a_reason(tmp_path) -> None:
    class Helpless:
        name = "helpless"

        def plan(self, context):
            raise AdversaryError("no candidates")

    config = tiny_config(curriculum="constant")
    run = RunDirectory.create(tmp_path / "run", "train_ego", asdict(config))
    trainer = make_trainer(config, run, adversary=Helpless())
    trainer.run()
    records = run.records(EPISODES)
    assert not any(record["attacked"] for record in records)
    assert {record["attack_error"] for record in records} == {"", "no candidates"}
