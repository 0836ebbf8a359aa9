"""`attack --export` against *stock* MetaDrive: a process of its own replays the folder and shows the plan."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness import attack
from harness.attacks.open_loop import attack_logged
from harness.episodes.protocol import CORRECTED
from harness.interfaces import HEADING
from harness.registry import make
from scenarios import open_source
from scenarios.safe_pickle import load
from tests.sources import tiny_source
from tests.unit.test_docs import python_block

# Nothing of Gauntlet's is imported: this is what a user of MetaDrive alone writes. The download of 3D models is
# refused, and so is the network, because replaying without a picture must need neither.
REPLAY = """
import json, socket, sys
from metadrive.engine.base_engine import BaseEngine
from metadrive.envs.scenario_env import ScenarioEnv
from metadrive.policy.replay_policy import ReplayEgoCarPolicy

def refuse(*_):
    raise OSError("this test has no network")

socket.socket.connect = refuse
BaseEngine.try_pull_asset = staticmethod(lambda: None)
folder, count, documented = sys.argv[1], int(sys.argv[2]), sys.argv[3]
env = ScenarioEnv({
    "data_directory": folder, "num_scenarios": count, "agent_policy": ReplayEgoCarPolicy, "horizon": 200,
    "reactive_traffic": False, "no_light": True, "log_level": 50, "crash_vehicle_done": False,
    "out_of_route_done": False,
})
found = {}
for seed in range(count):
    env.reset(seed=seed)
    exec(documented)
    scene = env.engine.data_manager.current_scenario["id"]
    names = env.engine.traffic_manager.obj_id_to_scenario_id
    steps, crashed, done = [], -1, False
    while not done:
        present = {names[key]: [*map(float, item.position), float(item.heading_theta)]
                   for key, item in env.engine.get_objects(lambda o: o.id in names).items()}
        steps.append([[*map(float, env.agent.position), float(env.agent.heading_theta)], present])
        _, _, terminated, truncated, info = env.step([0.0, 0.0])
        crashed = len(steps) if info["crash_vehicle"] and crashed < 0 else crashed
        done = terminated or truncated or len(steps) >= 90
    found[scene] = {"steps": steps, "crashed": crashed}
env.close()
print("@replay " + json.dumps(found))
"""


def replay(folder: Path, count: int) -> dict:
    """What stock `ScenarioEnv` shows of the scenes in a folder, by scene id."""
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, str(folder), str(count), python_block("docs/gymnasium.md", "get_navi_info")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("@replay ")]
    # What the page says of stock MetaDrive's way points is so.
    assert done.stdout.count("the second coordinate repeats the first: True") == count
    assert lines, f"stock MetaDrive failed: {done.stderr[-3000:]}"
    return json.loads(lines[-1].removeprefix("@replay "))


def test_stock_metadrive_replays_what_was_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.selection.open_source", lambda data, split=None, **_: tiny_source())
    out = tmp_path / "run"
    attack.main(["--adversary", "rule", "--scenes", "2", "--export", "--out", str(out)])
    folder = out / "scenes" / "rule"
    source, rule = tiny_source(), make("adversary", "rule")
    assert set(load(folder / "dataset_summary.pkl")) == {f"sd_{source.ids[i]}-rule.pkl" for i in (0, 1)}
    shown = replay(folder, 2)
    assert set(shown) == {f"{source.ids[index]}-rule" for index in (0, 1)}
    for index in (0, 1):
        scenario = source[index]
        record, plan = attack_logged(rule, scenario, CORRECTED)
        steps = shown[f"{scenario.id}-rule"]["steps"]
        opponent = scenario.agent_ids[scenario.opponent]
        # MetaDrive's boxes have its own vehicles' sizes, so its contact comes a few steps before or after.
        assert abs(shown[f"{scenario.id}-rule"]["crashed"] - record.contact_step) <= 5
        assert len(steps) > record.contact_step > 10, "the replay must reach the contact"
        for step, (ego, present) in enumerate(steps):
            # MetaDrive moves every scene so that the ego starts at (0, 0).
            logged = scenario.position[scenario.ego, step, :2] - scenario.origin
            np.testing.assert_allclose(ego[:2], logged, atol=0.01)
            expected = plan.states[step, : HEADING + 1]
            np.testing.assert_allclose(
                present[opponent][:2], expected[:2] - scenario.origin, atol=0.01, err_msg=f"step {step}"
            )
            turned = present[opponent][2] - expected[2]
            assert abs(np.arctan2(np.sin(turned), np.cos(turned))) < 1e-3


def test_exported_folder_is_a_source_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.selection.open_source", lambda data, split=None, **_: tiny_source())
    out = tmp_path / "run"
    attack.main(["--adversary", "rule", "--scenes", "2", "--export", "--out", str(out)])
    again = open_source(out / "scenes" / "rule")
    plain = tiny_source()
    assert len(again) == 2
    for index in range(2):
        scenario = plain[index]
        attacked = again[again.ids.index(f"sd_{scenario.id}-rule")]
        _, plan = attack_logged(make("adversary", "rule"), scenario, CORRECTED)
        row = attacked.index_of("opponent")
        np.testing.assert_allclose(attacked.states(row)[plan.valid], plan.states[plan.valid])
        assert not np.allclose(attacked.position[row, -1], scenario.position[scenario.opponent, -1])
