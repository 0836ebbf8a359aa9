"""Training with workers on the fake task: the same run whatever the timing, kills and resumption included."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.commands.runs import RunDirectory
from harness.envs.attacking import draw_scene
from harness.episodes.rules import EndRules, RuledEnv
from harness.errors import ConfigError, EngineError, GauntletError, PolicyError, RunError, WorkerError
from harness.executors import JobResult
from harness.performance import workers
from harness.performance.config import PerfConfig
from harness.training import checkpoint
from harness.training.actor import Actor
from harness.training.config import TrainConfig
from harness.training.crew_trainer import CrewTrainer, arrays_of, jobs_of
from harness.training.episode_worker import EpisodeJob, build
from harness.training.rounds import EPISODES, EVALUATION
from harness.training.run import make_trainer as trainer_of
from tests.unit.training.fake_driving import TRAIN, FakeEnv, FakeSource, fake_worker
from tests.unit.training.fakes import make_trainer, tiny_config

CHANGES = {"workers": 2, "curriculum": "adaptive", "steps": 500, "eval_every": 250, "checkpoint_every": 200}


LOST = 11
"""An episode whose workers are lost in these runs."""


class HereStream:
    """Workers without processes; `order` shuffles what comes first, as timing would."""

    def __init__(self, config: TrainConfig, folder: Path | None, order: np.random.Generator | None) -> None:
        self.work, self.order = fake_worker(config, folder), order
        self.given: list[EpisodeJob] = []
        self.most = 0

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.given.clear()

    def give(self, job: EpisodeJob) -> None:
        self.given.append(job)
        self.most = max(self.most, len(self.given))

    def results(self, timeout: float | None):
        # A look takes what is there; of those that wait, some one is ready first.
        if self.given and timeout != 0.0:
            place = 0 if self.order is None else int(self.order.integers(len(self.given)))
            job = self.given.pop(place)
            lost = "the worker process died of SIGKILL" if job.episode == LOST else ""
            yield JobResult(job, None if lost else self.work(job), lost, 1 + bool(lost))


def here(monkeypatch, config: TrainConfig, order: int | None = None) -> None:
    """Let trainers use a `HereStream`."""
    rng = None if order is None else np.random.default_rng(order)
    monkeypatch.setattr("harness.training.crew_trainer.open_stream", lambda *_: HereStream(config, None, rng))


def started(folder: Path, **changes) -> tuple[RunDirectory, CrewTrainer]:
    config = tiny_config(**{**CHANGES, **changes})
    run = RunDirectory.create(folder, "train_ego", asdict(config))
    trainer = make_trainer(config, run, folder=folder)
    assert isinstance(trainer, CrewTrainer)
    return run, trainer


def told(run: RunDirectory) -> list[list[dict]]:
    """Records without times."""
    return [[{**record, "attack_ms": 0} for record in run.records(name)] for name in (EPISODES, EVALUATION)]


def same(first: CrewTrainer, second: CrewTrainer) -> bool:
    """Whether two trainers have equal networks, memories, curricula and drives."""
    one, other = first.parts.learner, second.parts.learner
    networks = all(bool((one.state()[name] == other.state()[name]).all()) for name in one.state())
    rows = [learner.memory.rows(0, learner.memory.written) for learner in (one, other)]
    arrays = first.env.buffer.state_dict(), second.env.buffer.state_dict()
    known = first.scheduler.state_dict() == second.scheduler.state_dict()
    pairs = [(pair[0][name], pair[1][name]) for pair in (rows, arrays) for name in pair[0]]
    return networks and known and all(np.array_equal(*pair) for pair in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[RunDirectory, CrewTrainer]:
    """A run with real processes. One is killed in episode 7, which is played again; two are in episode `LOST`."""
    run, trainer = started(tmp_path_factory.mktemp("runs") / "whole")
    (run.path / "die-7").write_text("x")
    (run.path / f"die-{LOST}").write_text("xx")
    trainer.run()
    return run, trainer


def test_a_run_has_every_episode_in_order_with_an_update_per_step(whole) -> None:
    run, trainer = whole
    episodes = run.records(EPISODES)
    assert [record["episode"] for record in episodes] == list(range(trainer.progress.episode))
    played = [record for record in episodes if not record["error"]]
    assert [record["step"] for record in played] == list(np.cumsum([record["steps"] for record in played]))
    assert trainer.parts.learner.updates == trainer.progress.step - 101 >= 399
    assert {record["scene"] for record in episodes} == {"scene-0", "scene-1", "scene-2"}
    assert any(record["attacked"] for record in played)
    assert any(record["drive_kept"] for record in played)
    assert [(run.path / f"die-{number}").read_text() for number in (7, LOST)] == ["", ""]
    (lost,) = (record for record in episodes if record["error"])
    assert lost["episode"] == LOST
    assert "its worker was lost 2 times; the last: the worker process died of SIGKILL" in lost["error"]
    assert trainer.progress.failed_episodes == 1
    assert len(run.records(EVALUATION)) == 2 * 2 * 2


@pytest.mark.parametrize("order", [None, 1])
def test_timing_changes_nothing_and_neither_does_a_worker_that_dies(whole, tmp_path, monkeypatch, order) -> None:
    run, trainer = started(tmp_path / "run")
    here(monkeypatch, trainer.config, order)
    trainer.run()
    assert told(run) == told(whole[0])
    assert same(trainer, whole[1])


def test_an_episode_knows_what_was_known_two_episodes_per_worker_before(tmp_path, monkeypatch) -> None:
    run, trainer = started(tmp_path / "run", curriculum="cat", workers=3, steps=300)
    here(monkeypatch, trainer.config)
    knew, jobs = {}, {}
    plain, ahead = trainer.watcher.step, 2 * 3

    def step(progress) -> None:
        plain(progress)
        knew[progress.episode] = progress.step, trainer.parts.learner.actor.snapshot(), trainer.env.buffer.state_dict()
        jobs.update({job.episode: job for job in trainer._jobs})

    trainer.watcher.step = step
    trainer.run()
    records = {record["episode"]: record for record in run.records(EPISODES)}
    assert len(records) > ahead + 3
    for episode, job in jobs.items():
        if episode in records:
            assert records[episode]["scene"] == job.scene
        if episode < ahead:
            assert (job.step, job.drives) == (0, ())
            continue
        known_step, actor, drives = knew[episode - ahead + 1]
        assert job.step == known_step
        assert job.schedule.probability == pytest.approx(min(0.9, 1.8 * known_step / 300))
        assert all(np.array_equal(a, b) for a, b in zip(job.actor.layers[0], actor.layers[0], strict=True))
        kept = dict(zip(drives["ids"], drives["counts"], strict=True))
        assert len(job.drives) == kept.get(job.scene, 0)


@pytest.mark.parametrize("when", [130, 330], ids=["while it waits", "after a checkpoint"])
def test_a_run_that_is_stopped_goes_on_exactly(whole, tmp_path, monkeypatch, when) -> None:
    run, trainer = started(tmp_path / "run")
    here(monkeypatch, trainer.config, 5)
    # The request comes while the next episode is waited for.
    collect = trainer._collect

    def stopping(timeout: float) -> None:
        trainer.stop_requested |= trainer.progress.step >= when and timeout > 0
        if not trainer.stop_requested:
            collect(timeout)

    trainer._collect = stopping
    trainer.run()
    assert not trainer.finished
    resumed = make_trainer(trainer.config, run)
    resumed.resume()
    assert resumed.progress.step == trainer.progress.step >= when
    assert [str(job) for job in resumed._jobs] == [str(job) for job in trainer._jobs]
    resumed.run()
    assert told(run) == told(whole[0])
    assert same(resumed, whole[1])


def test_a_run_goes_on_from_an_older_checkpoint(whole, tmp_path, monkeypatch) -> None:
    run, trainer = started(tmp_path / "run")
    here(monkeypatch, trainer.config)

    def step(progress) -> None:
        if progress.step > 300:
            raise KeyboardInterrupt

    trainer.watcher.step = step
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    resumed = make_trainer(trainer.config, run)
    resumed.resume()
    assert 200 <= resumed.progress.step < 300
    here(monkeypatch, trainer.config, 3)
    resumed.run()
    assert told(run) == told(whole[0])
    assert same(resumed, whole[1])


@pytest.mark.parametrize(
    ("failure", "on_error", "says"),
    [
        (EngineError("no road"), "raise", "no road"),
        (EngineError("no road"), "skip", "20 training episodes in a row"),
        (PolicyError("diverged"), "skip", "diverged"),
        (WorkerError("episode 0 (scene scene-1) failed: KeyError"), "skip", "KeyError"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_what_goes_wrong_without(tmp_path, monkeypatch, failure, on_error, says) -> None:
    run, trainer = started(tmp_path / "run", on_error=on_error)
    here(monkeypatch, trainer.config)
    monkeypatch.setattr("tests.unit.training.fake_driving.EpisodeWorker.__call__", lambda self, job: failure)
    with pytest.raises(GauntletError, match=says):
        trainer.run()
    assert len(run.records(EPISODES)) == (20 if says.startswith("20") else 0)


def test_a_worker_tells_what_it_cannot_play_and_ends_all_over_other_scenes() -> None:
    config = tiny_config(**CHANGES)
    work = fake_worker(config, None)
    actor = SimpleNamespace(explore=lambda observation, step, rng: np.full(2, np.nan, np.float32))
    job = EpisodeJob(0, "scene-2", 0, (1.0, 1.0), (), actor)
    right = f"scene-{draw_scene(TRAIN, np.random.default_rng([config.seed, 0]))}"
    assert isinstance(work(replace(job, scene=right)), PolicyError)
    actor.explore = lambda observation, step, rng: 1 / 0
    answer = work(replace(job, scene=right))
    assert isinstance(answer, WorkerError)
    assert "ZeroDivisionError" in str(answer)
    with pytest.raises(RunError, match="same scenes"):
        work(replace(job, scene="scene-4"))
    with pytest.raises(RunError, match="does not exist on this machine"):
        build(config, Path("/nowhere"))


def test_a_snapshot_acts_as_the_learner_did_and_stays() -> None:
    weights = [np.full((3, 2), 0.5, np.float32), np.full((2, 3), -1.0, np.float32)]
    actor = Actor([(weight, np.zeros(len(weight), np.float32)) for weight in weights], warmup=10, exploration=0.0)
    copy, observation = actor.snapshot(), np.array([1.0, -0.5], np.float32)
    assert np.allclose(actor.greedy(observation), np.tanh(-3 * 0.25))
    weights[0][:] = 0.0
    assert np.array_equal(actor.greedy(observation), np.zeros(2))
    assert np.allclose(copy.explore(observation, 10, np.random.default_rng(0)), np.tanh(-3 * 0.25))
    assert not np.allclose(copy.explore(observation, 9, np.random.default_rng(0)), np.tanh(-3 * 0.25))


def test_jobs_of_a_damaged_checkpoint_are_refused(whole, tmp_path, monkeypatch) -> None:
    run, trainer = whole
    path = next((run.path / checkpoint.FOLDER).glob("ego-*"))
    before = path.read_bytes()
    with np.load(path) as found:
        arrays = dict(found)
    changes = [
        {"job.episode": arrays["job.episode"] + 1},
        {"job.episode": arrays["job.episode"] * 1.0},
        {"job.step": arrays["job.step"] - 10**6},
        {"job.updates": arrays["job.updates"][:1]},
        {"job.schedule": arrays["job.schedule"] + 2},
        {"job.weight1": arrays["job.weight1"][:, :3]},
        {"job.bias0": arrays["job.bias0"].astype(np.float64)},
        {"job.bias0": arrays["job.bias0"] * np.float32("nan")},
        {"job.drives.counts": arrays["job.drives.counts"] + 1},
    ]
    missing = [{name: array for name, array in arrays.items() if not name.startswith("job.")}]
    missing += [{name: array for name, array in arrays.items() if name != "job.weight2"}]
    for broken in [*({**arrays, **change} for change in changes), *missing]:
        np.savez(path, **broken)
        with pytest.raises(GauntletError, match=r"checkpoint|saved") as caught:
            make_trainer(trainer.config, run).resume()
        assert len(str(caught.value).splitlines()) == 1
    path.write_bytes(before)
    make_trainer(trainer.config, run).resume()
    assert len(jobs_of(arrays_of(trainer._jobs), ["a"] * 4, trainer.parts.learner.actor)) == 3


def test_training_with_two_workers_is_timed_against_one(monkeypatch) -> None:
    ruled = RuledEnv(FakeEnv(FakeSource(5)), EndRules(30, crash_ends=False))
    monkeypatch.setattr(workers, "engine_over", lambda scenes, config: ruled)
    monkeypatch.setattr(workers, "ROUNDS", 1)
    monkeypatch.setattr(workers, "WARM_UP", 300)
    streams = []

    def open_stream(setup, executor, count, *_):
        assert (setup.target, count) == ("harness.performance.workers:build", 2)
        config = setup.kwargs["config"]
        assert workers.build(**setup.kwargs) is not None
        streams.append(HereStream(config, None, None))
        return streams[-1]

    monkeypatch.setattr("harness.training.crew_trainer.open_stream", open_stream)
    found = workers.measure_workers(FakeSource(3).scenes, PerfConfig(worker_steps=50))
    assert len(streams) == 1
    assert found["workers_train_steps_per_s"] > 0
    assert found["workers_train_ratio"] > 0


def test_workers_are_for_metadrive_and_as_many_as_are_asked_for(tmp_path) -> None:
    for changes, says in (({"workers": 0}, "at least 1"), ({"engine": "fast", "workers": 2}, "--engine fast")):
        with pytest.raises(ConfigError, match=says):
            tiny_config(**changes)
    _, trainer = started(tmp_path / "run")
    made = [trainer_of(replace(trainer.config, workers=n), trainer.directory, trainer.parts, None) for n in (1, 2)]
    assert [isinstance(item, CrewTrainer) for item in made] == [False, True]
