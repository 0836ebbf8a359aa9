"""Generated scenes in MetaDrive's own, unmodified `ScenarioEnv`."""

import json
import subprocess
import sys

import pytest

from scenarios.procedural import ProceduralConfig, generate

# A process of its own: MetaDrive allows one engine per process.
REPLAY = """
import json, sys
from metadrive.engine.base_engine import BaseEngine
# Headless needs no assets, yet the stock engine waits for their download.
BaseEngine.try_pull_asset = staticmethod(lambda: None)
from metadrive.envs.scenario_env import ScenarioEnv
from metadrive.policy.replay_policy import ReplayEgoCarPolicy
count = int(sys.argv[2])
env = ScenarioEnv(dict(data_directory=sys.argv[1], num_scenarios=count, use_render=False, log_level=50,
                       agent_policy=ReplayEgoCarPolicy, horizon=91))
outcomes = []
for index in range(count):
    env.reset(seed=index)
    done, crashed = False, False
    while not done:
        _, _, terminated, truncated, info = env.step([0.0, 0.0])
        done, crashed = terminated or truncated, crashed or info["crash_vehicle"]
    outcomes.append([bool(info["arrive_dest"]), bool(crashed), bool(info["out_of_road"])])
print(json.dumps(outcomes), flush=True)
# An engine that is still there when the interpreter ends can take it down.
env.close()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    kinds = {"intersection": 1.0, "roundabout": 1.0, "merge": 1.0}
    config = ProceduralConfig(train=3, test=0, kinds=kinds, duration=20.0, warm_up=4.0, max_vehicles=12)
    return generate(config, tmp_path_factory.mktemp("procedural"), workers=1)


def test_stock_environment_replays_every_scene_to_its_end(folder):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REPLAY, str(folder), "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    # Arrived, without contact, without leaving the road: what the log shows is drivable in the engine.
    assert outcomes == [[True, False, False]] * 3
