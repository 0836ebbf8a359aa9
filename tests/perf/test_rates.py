"""Training rate and memory growth are measured on the engine itself, here in a few steps."""

from types import SimpleNamespace

import pytest

from harness import registry
from harness.performance import fast_rates, training, workers
from harness.performance.config import PerfConfig
from harness.performance.fast_rates import measure_fast_speed, measure_fast_training
from harness.performance.memory import measure_memory
from harness.performance.workers import RateWatcher, measure_workers
from harness.training.checkpoint import TrainingProgress
from tests.sources import tiny_source


def test_the_training_rate_is_that_of_the_steps_after_the_warm_up(monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 20)
    scenes = list(tiny_source().scenes)
    assert training.measure_training(scenes, PerfConfig(train_steps=10))["train_steps_per_s"] > 0


def test_memory_is_compared_before_and_after_the_episodes():
    found = measure_memory(tiny_source().scenes, PerfConfig(episodes=2, episode_steps=3))
    assert found["rss_episodes"] == 2
    assert abs(found["rss_growth_mb"]) < found["rss_mb"]


def test_rates_of_the_fast_engine(monkeypatch):
    monkeypatch.setattr(registry, "make", lambda kind, name: SimpleNamespace(name=name, plan=lambda context: None))
    monkeypatch.setattr(fast_rates, "ENVIRONMENTS", 4)
    monkeypatch.setattr(fast_rates, "STEPS", 2)
    monkeypatch.setattr(fast_rates, "THREADS", 1)
    scenes, config = tiny_source().scenes, PerfConfig(fast_blocks=1, fast_train_steps=1, horizon=3)
    found = measure_fast_speed(scenes, config)
    assert {*found} == {
        "fast_steps_per_s",
        "fast_ratio",
        "fast_metadrive_steps_per_s",
        "fast_route_steps_per_s",
        "fast_no_line_rays_steps_per_s",
    }
    assert min(found.values()) > 0
    assert measure_fast_training(scenes, config)["fast_train_steps_per_s"] > 0


def test_a_run_is_timed_after_its_warm_up_and_stopped(monkeypatch):
    clock = iter([1.0, 2.0, 4.0])
    monkeypatch.setattr(workers, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    watcher = RateWatcher(600, 50)
    watcher.watched = SimpleNamespace(stop_requested=False)
    for step, stops in ((580, False), (610, False), (640, False), (670, True)):
        watcher.step(TrainingProgress(step=step))
        assert watcher.watched.stop_requested == stops
    assert watcher.rate == 20


@pytest.mark.slow
def test_workers_are_compared_with_one_process(monkeypatch):
    monkeypatch.setattr(workers, "ROUNDS", 1)
    assert measure_workers(tiny_source().scenes, PerfConfig(worker_steps=300))["workers_train_ratio"] > 0
