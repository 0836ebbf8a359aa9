"""`perf`: which scenes are measured, the parts that need no simulator, and the command around them."""

import itertools
import json
from types import SimpleNamespace

import pytest

from harness import perf, registry
from harness.errors import AdversaryError, ConfigError
from harness.performance import attacks, decisions, stages
from harness.performance.config import PerfConfig
from harness.performance.memory import rss_mb
from harness.performance.sample import spread
from harness.report.performance_table import performance_table
from scenarios.scenario import LoadedScenes
from tests.scenes import crossing, straight_road
from tests.sources import ListSource


def roads(count):
    return ListSource([straight_road(scene_id=str(number)) for number in range(count)])


def test_scenes_are_spread_over_the_source():
    assert [scene.id for scene in spread(roads(9), 3)] == ["0", "4", "8"]
    assert [scene.id for scene in spread(roads(2), 5)] == ["0", "1"]
    with pytest.raises(ConfigError, match="no scenes"):
        spread(ListSource([]), 3)


def test_equal_ids_stay_apart_and_others_stay():
    source = LoadedScenes([crossing(), crossing()])
    assert source.ids == ("0:crossing", "1:crossing") == tuple(scene.id for scene in source)
    assert LoadedScenes([crossing()]).ids == ("crossing",)


def test_every_adversary_is_timed_but_for_its_first_plan(monkeypatch):
    class Refuses:
        name = "refuses"

        def __init__(self):
            self.left = 4

        def plan(self, context):
            assert (context.intensity, len(context.ego_trajectories)) == (1.0, (5, 1)[self.left % 2 == 0])
            self.left -= 1
            if self.left < 0:
                raise AdversaryError("no plan")

    def make(kind, name):
        if name == "broken":
            raise TypeError("needs a file")
        return Refuses()

    monkeypatch.setattr(registry, "names", lambda kind: ("broken", "refuses"))
    monkeypatch.setattr(registry, "make", make)
    found = attacks.measure_attacks(roads(5), PerfConfig(attack_sample=3))["attack_ms"]
    assert found["broken"] == {"error": "needs a file"}
    # Two scenes are planned twice each, and the first scene is not counted.
    assert found["refuses"]["scenes"] == 1
    assert found["refuses"]["slowest"] >= found["refuses"]["median"] > 0
    assert found["refuses"]["cached"] > 0


def test_decisions_and_steps_are_timed_but_for_the_first_scene(monkeypatch):
    class Decides:
        name = "decides"
        control = "action"
        observation = "none"
        privileged = False

        def act(self, observation, view):
            return observation

    def load(name):
        if name == "broken":
            raise ConfigError("needs a file")
        return Decides()

    def drive(env, policy, adversary, place, *, seed):
        for _ in range(place + 2):
            assert policy.act(place, None) == place
        driven.append(len(policy.seconds))

    driven, rolled, clock = [], [], itertools.count()
    env = SimpleNamespace(close=lambda: None)
    roller = SimpleNamespace(simulate=lambda scene, count, seed: rolled.append((scene.id, count)))
    kinds = {"policy": ("broken", "decides"), "traffic": ("flows",)}
    monkeypatch.setattr(registry, "names", kinds.get)
    monkeypatch.setattr(decisions, "load_policy", load)
    monkeypatch.setattr(decisions, "run_episode", drive)
    monkeypatch.setattr(decisions, "GauntletEnv", lambda source, config: env)
    monkeypatch.setattr(decisions, "make_roller", lambda name, steps: roller)
    monkeypatch.setattr(decisions.time, "process_time", lambda: next(clock))
    found = decisions.measure_decisions(roads(5), PerfConfig(decision_sample=2))
    assert driven[-3:] == [2, 3, 7], "what the first scene took is forgotten"
    assert len(driven) == 6, "the simulator was warm"
    assert rolled == [("0", 1), ("2", 1), ("4", 1)]
    assert found["decision_ms"]["broken"] == {"error": "needs a file"}
    assert found["decision_ms"]["decides"]["median"] == found["decision_ms"]["decides"]["slowest"] == 1000
    assert found["traffic_ms"]["flows"]["median"] == 1000 / 80
    assert found["traffic_ms"]["flows"]["memory_mb"] >= 0


def test_resident_memory_is_measured():
    assert 10 < rss_mb() < 1e6


def test_the_command_writes_the_numbers_after_every_measurement(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(PerfConfig, "open", lambda self: roads(4))
    monkeypatch.setattr(stages, "measure_speed", lambda scenes, config: {"step_ratio": float(len(scenes))})
    monkeypatch.setattr(stages, "measure_differences", lambda scenes, config: {"contacts": len(scenes)})
    skipped = ["--fast-sample", "0", "--fast-blocks", "0", "--fast-train-steps", "0", "--worker-steps", "0"]
    skipped += ["--train-steps", "0", "--attack-scenes", "0", "--episodes", "0"]
    skipped += ["--traffic-updates", "0", "--decision-sample", "0"]
    path = tmp_path / "perf.json"
    perf.main(["--json", str(path), "--sample", "3", "--exact-sample", "2", *skipped])
    found = json.loads(path.read_text())
    assert (found["scenes"], found["step_ratio"], found["contacts"]) == (3, 3.0, 2)
    assert found["config"]["attack_sample"] == 0
    printed = capsys.readouterr()
    assert "≥ 2.5" in printed.out
    assert "--attack-sample" in printed.err


def test_the_table_shows_goals_and_errors():
    measured = {
        "scenes": 3,
        "attack_ms": {"cat": {"median": 12.34, "slowest": 20.0, "cached": 0.456}, "own": {"error": "no file"}},
        "decision_ms": {"idm": {"median": 0.123, "slowest": 1.0, "memory_mb": 2.0}},
        "traffic_ms": {"flow": {"error": "no weights"}},
    }
    table = performance_table(measured)
    assert [table.cells(row) for row in table.rows] == [
        ["scenes", "3", ""],
        ["attack_ms cat", "12.3", "≤ 40"],
        ["attack_ms cat, cached", "0.46", "≤ 1"],
        ["attack_ms own", "no file", ""],
        ["decision_ms idm", "0.12", ""],
        ["traffic_ms flow", "no weights", ""],
    ]


def test_numbers_that_cannot_work_are_refused_as_they_are_typed():
    with pytest.raises(ConfigError, match="--attack-sample -1: expected at least 0"):
        PerfConfig(attack_sample=-1)
    with pytest.raises(ConfigError, match="--blocks 0: expected at least 1"):
        PerfConfig(blocks=0)
