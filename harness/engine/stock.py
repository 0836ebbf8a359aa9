"""Stock `ScenarioEnv` as the yardstick, in a process of its own (MetaDrive allows one engine per process).

`python -m harness.engine.stock FOLDER (speed|exact)` answers one JSON line per JSON line on its standard input.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import SENSORS
from harness.errors import EngineError
from scenarios.description import to_description
from scenarios.scenario import Scenario

Mode = Literal["speed", "exact"]

_REPLY: Final = "@stock "
"""Marks the answers among whatever MetaDrive prints."""
NAMES: Final = "names.json"
"""Scene ids in the folder, by scene number."""
FLAGS: Final = ("crash_vehicle", "crash_human", "crash_object")


def test_actions(scene: int, steps: int) -> NDArray[np.float32]:
    """The same gentle, varied drive for both simulators: [steps, 2] in [-1, 1], by scene number."""
    rng = np.random.default_rng([7, scene])
    mean = np.array([rng.uniform(-0.05, 0.05), rng.uniform(-0.1, 0.5)])
    noise = rng.uniform(-1.0, 1.0, (steps, 2)) * (0.15, 0.3)
    return np.clip(mean + noise, -1.0, 1.0).astype(np.float32)


def drive(env: Any, scene: int, steps: int, reset: Any) -> dict[str, Any]:
    """One episode with `test_actions`: what was seen, and the seconds it took.

    `reset` begins the episode and returns its first observation.
    """
    begin = time.perf_counter()
    observation = reset()
    middle = time.perf_counter()
    observations, rewards, flags = [observation], [], []
    for action in test_actions(scene, steps):
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        flags.append([bool(info[name]) for name in FLAGS])
        if terminated or truncated:
            break
    return {
        "reset_s": middle - begin,
        "step_s": time.perf_counter() - middle,
        "steps": len(rewards),
        "observations": np.array(observations),
        "rewards": np.array(rewards),
        "flags": np.array(flags, bool),
    }


class StockProcess:
    """A stock environment over given scenes, driven from here."""

    def __init__(self, scenes: Sequence[Scenario], mode: Mode, horizon: int) -> None:
        """Write the scenes to a temporary folder and start the process.

        Args:
            scenes: In any order; `order` tells which place each one got.
            mode: `speed`: stock as it is; `exact`: with `force_destroy`, because stock's recycled vehicles keep
                their wheels' rotation, so that it differs from itself by up to 3e-3 from one visit to the next.
            horizon: Steps.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="gauntlet-stock-")
        names = [scenario.id for scenario in scenes]
        (Path(self._folder.name) / NAMES).write_text(json.dumps(names), encoding="utf-8")
        for number, scenario in enumerate(scenes):
            with (Path(self._folder.name) / f"{number}.pkl").open("wb") as file:
                pickle.dump(to_description(scenario), file)
        command = [sys.executable, "-m", "harness.engine.stock", self._folder.name, mode, str(horizon)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.order: list[int] = self._read()["order"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None, "stdout is a pipe"
        for line in self._process.stdout:
            if line.startswith(_REPLY):
                return json.loads(line.removeprefix(_REPLY))
        raise EngineError(f"the stock simulator ended with code {self._process.wait()}; run it alone to see why")

    def run(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Drive the scenes at these places of `order`; see `drive` for the answer."""
        assert self._process.stdin is not None, "stdin is a pipe"
        self._process.stdin.write(json.dumps({"places": list(places)}) + "\n")
        self._process.stdin.flush()
        results = []
        with np.load(self._read()["file"], allow_pickle=False) as file:
            for number in range(len(places)):
                found = {key: file[f"{number}/{key}"] for key in ("observations", "rewards", "flags")}
                seconds = file[f"{number}/seconds"]
                found.update(reset_s=float(seconds[0]), step_s=float(seconds[1]), steps=len(found["rewards"]))
                results.append(found)
        return results

    def close(self) -> None:
        """Stop the process and remove the folder."""
        assert self._process.stdin is not None, "stdin is a pipe"
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._folder.cleanup()


def _make(folder: Path, mode: Mode, horizon: int, count: int) -> Any:
    from metadrive.engine.base_engine import BaseEngine
    from metadrive.envs.scenario_env import ScenarioEnv

    # Without this, stock would download (or wait for) 3D assets that it never shows.
    BaseEngine.try_pull_asset = staticmethod(lambda: None)
    preset = SENSORS["cat"]
    return ScenarioEnv(
        {
            "data_directory": str(folder),
            "num_scenarios": count,
            "no_light": True,
            "no_static_vehicles": True,
            "reactive_traffic": False,
            "horizon": horizon,
            "log_level": 50,
            "force_destroy": mode == "exact",
            "vehicle_config": {
                "lidar": {"num_lasers": preset.lidar, "distance": preset.distance, "num_others": preset.others},
                "side_detector": {"num_lasers": preset.side, "distance": preset.distance},
                "lane_line_detector": {"num_lasers": preset.lane_line, "distance": preset.distance},
            },
        }
    )


def _serve(folder: Path, mode: Mode, horizon: int) -> None:
    count = len(list(folder.glob("*.pkl")))
    env = _make(folder, mode, horizon, count)
    env.reset(seed=0)
    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    # MetaDrive numbers files in the order in which the folder lists them.
    order = [int(Path(name).stem) for name in env.engine.data_manager.summary_lookup[:count]]
    _answer({"order": order})
    for line in sys.stdin:
        arrays: dict[str, Any] = {}
        for number, place in enumerate(json.loads(line)["places"]):
            result = drive(env, order[place], horizon, lambda place=place: _reset(env, place, names[order[place]]))
            for key in ("observations", "rewards", "flags"):
                arrays[f"{number}/{key}"] = result[key]
            arrays[f"{number}/seconds"] = np.array([result["reset_s"], result["step_s"]])
        file = folder / "reply.npz"
        np.savez(file, **arrays)
        _answer({"file": str(file)})
    env.close()


def _reset(env: Any, place: int, name: str) -> NDArray[np.float32]:
    """Begin an episode with the car of the scene's id: stock itself takes that of the scene's place."""
    # Imported here: only the stock process needs it.
    from harness.engine.ego import forces_of

    observation = env.reset(seed=place)[0]
    env.agent.config.update(forces_of(name).as_config())
    return observation


def _answer(reply: dict[str, object]) -> None:
    sys.stdout.write(_REPLY + json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), "exact" if sys.argv[2] == "exact" else "speed", int(sys.argv[3]))
