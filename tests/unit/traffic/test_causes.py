"""Who caused a contact, in scenes where anybody can tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.evaluate_traffic import main
from harness.files import read_json
from harness.traffic.causes import Cause, causes, summarise
from harness.traffic.comparison import compare
from harness.traffic.config import EvaluateTrafficConfig
from harness.traffic.log_policies import LogTraffic
from harness.traffic.reactivity import braking
from scenarios.scenario import Kind
from tests.scenes import Agent, straight_road
from tests.sources import ListSource


def road(*others, **options):
    """The ego drives east at 10 m/s from the origin, and others as they say: name, x, y, heading, speed."""
    return straight_road(extra=[Agent(*other) for other in others], with_opponent=False, **options)


def told(scene, ego=None):
    found = causes(scene, LogTraffic(), scene.states(0) if ego is None else ego, 0)
    return [(cause.agents, cause.prevented_by, cause.verdict) for cause in found]


def test_who_runs_into_somebody_ahead_made_the_contact():
    scene = road(("behind", -15.0, 0.0, 0.0, 10.0))
    ego = braking(scene, 6.0).states
    assert told(scene, ego) == [(("ego", "behind"), ("behind",), "one")]
    parked = road(("parked", 50.0, 0.0, 0.0, 0.0))
    assert told(parked) == [(("ego", "parked"), ("ego",), "one")]


def test_of_two_who_cross_either_could_have_waited():
    # Both reach (40, 0) after 4 s.
    scene = road(("crossing", 40.0, -40.0, np.pi / 2, 10.0))
    assert told(scene) == [(("ego", "crossing"), ("ego", "crossing"), "either")]


def test_of_two_who_meet_head_on_neither_alone_helps():
    scene = road(("oncoming", 100.0, 0.0, np.pi, 10.0))
    assert told(scene) == [(("ego", "oncoming"), (), "neither")]


def test_nobody_who_keeps_apart_is_looked_at():
    assert told(road(("beside", 0.0, 3.5, 0.0, 10.0))) == []
    # One appears where another stands, and a box trembles beside a standing one.
    late = road(("parked", 50.0, 30.0, 0.0, 0.0), ("late", 21.0, 30.0, 0.0, 10.0))
    valid = late.valid.copy()
    valid[2, :30] = False
    assert told(replace(late, valid=valid)) == []
    trembling = road(("parked", 50.0, 30.0, 0.0, 0.0), ("trembling", 56.0, 30.0, 0.0, 0.0))
    position = trembling.position.copy()
    position[2, 40:, 0] = position[1, 40:, 0] + trembling.box(1)[0] - 0.01
    assert told(replace(trembling, position=position)) == []
    cone = road(("cone", 50.0, 0.0, 0.0, 0.0))
    kinds = cone.kinds.copy()
    kinds[1] = Kind.CONE
    assert told(replace(cone, kinds=kinds)) == []


def test_the_others_draw_the_same_numbers():
    class Wobbling:
        """Drives east at 10 m/s, and a random bit more or less at every step."""

        def reset(self, scenario, rng):
            self.scenario, self.rng, self.drawn = scenario, rng, []

        def step(self, step, states, valid):
            self.drawn.append(self.rng.random(len(states)).tolist())
            following = states.copy()
            following[:, 0] += 1.0
            return following, valid

    traffic, kept = Wobbling(), []
    reset = traffic.reset
    traffic.reset = lambda scenario, rng: (kept.append(getattr(traffic, "drawn", None)), reset(scenario, rng))
    scene = road(("parked", 50.0, 0.0, 0.0, 0.0), ("behind", -15.0, 0.0, 0.0, 10.0))
    assert causes(scene, traffic, braking(scene, 6.0).states, 3)
    runs = [*kept[1:], traffic.drawn]
    assert len(runs) >= 3
    assert all(run == runs[0][: len(run)] for run in runs)


def test_counts_and_the_command(tmp_path, monkeypatch, capsys):
    scenes = [road(("parked", 50.0, 0.0, 0.0, 0.0), scene_id="a"), road(scene_id="b")]
    monkeypatch.setattr(EvaluateTrafficConfig, "open", lambda self, **options: ListSource(scenes))
    main(["--causes", "--traffic", "log", "--json", str(tmp_path / "found.json")])
    assert "who causes contacts: 2 scenes" in capsys.readouterr().out
    row = read_json(tmp_path / "found.json")["traffic"]["log"]
    assert (row["scenes"], row["contacts"], row["one"], row["either"], row["neither"]) == (2, 1, 1, 0, 0)
    assert row["contacts_per_scene"] == 0.5
    (cause,) = row["causes"]
    assert (cause["scene"], cause["agents"], cause["prevented_by"]) == ("a", ["ego", "parked"], ["ego"])
    with pytest.raises(ConfigError, match="no scene"):
        summarise({"log": []})
    with pytest.raises(ConfigError, match="Give one of them"):
        EvaluateTrafficConfig(causes=True, reactivity=True)
    assert compare(EvaluateTrafficConfig(causes=True, traffic=("log",)), scenes)["traffic"]["log"]["contacts"] == 1


def test_a_verdict_follows_from_who_could():
    cause = Cause("a", 20, ("x", "y"), ("vehicle", "vehicle"), ())
    assert [replace(cause, prevented_by=by).verdict for by in ((), ("x",), ("x", "y"))] == ["neither", "one", "either"]
