"""Training rate and memory growth are measured on the engine itself, here in a few steps."""

from harness.performance import training
from harness.performance.config import PerfConfig
from harness.performance.memory import measure_memory
from tests.sources import tiny_source


def test_the_training_rate_is_that_of_the_steps_after_the_warm_up(monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 20)
    scenes = list(tiny_source().scenes)
    assert training.measure_training(scenes, PerfConfig(train_steps=10))["train_steps_per_s"] > 0


def test_memory_is_compared_before_and_after_the_episodes():
    found = measure_memory(tiny_source().scenes, PerfConfig(episodes=2, episode_steps=3))
    assert found["rss_episodes"] == 2
    assert abs(found["rss_growth_mb"]) < found["rss_mb"]
