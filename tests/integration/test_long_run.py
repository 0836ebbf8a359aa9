"""Ten minutes on a large map: traffic that comes and goes neither drifts nor leaks."""

import os
from pathlib import Path

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.geometry import boxes_overlap
from scenarios.map_index import MapIndex
from scenarios.scenario import MapFeature
from tests.scenes import Agent, make_scene
from tests.sources import ListSource

STREETS, BLOCK, MINUTE = 6, 150.0, 600


def city(streets: int = STREETS, block: float = BLOCK):
    """One-way streets east and north, a crossing every `block` m, where one may turn right or left; a parked ego."""
    lanes: dict[str, MapFeature] = {}
    ends = np.arange(-1, streets + 1) * block

    def lane(name, points, entry=(), exits=()):
        flat = np.concatenate([points, np.zeros((len(points), 1))], -1)
        lanes[name] = MapFeature(name, "LANE_SURFACE_STREET", flat, entry=tuple(entry), exit=tuple(exits))

    for across in range(streets):
        for part in range(streets + 1):
            along = np.linspace(ends[part] + 12.0 * (part > 0), ends[part + 1] - 12.0 * (part < streets), 12)
            fixed = np.full_like(along, across * block)
            exits = () if part == streets else [f"{way}{part},{across}" for way in ("x", "xn")]
            lane(f"east{across},{part}", np.stack([along, fixed], -1), exits=exits)
            exits = () if part == streets else [f"{way}{across},{part}" for way in ("y", "ye")]
            lane(f"north{across},{part}", np.stack([fixed, along], -1), exits=exits)
    line, angle = np.linspace(-12.0, 12.0, 5), np.linspace(0.0, np.pi / 2, 7)
    left = np.stack([-12.0 + 12.0 * np.sin(angle), 12.0 - 12.0 * np.cos(angle)], -1)
    for i in range(streets):
        for j in range(streets):
            at = np.array([i * block, j * block])
            lane(f"x{i},{j}", at + np.stack([line, 0 * line], -1), exits=[f"east{j},{i + 1}"])
            lane(f"y{i},{j}", at + np.stack([0 * line, line], -1), exits=[f"north{i},{j + 1}"])
            lane(f"xn{i},{j}", at + left, exits=[f"north{i},{j + 1}"])
            lane(f"ye{i},{j}", at + left[:, ::-1], exits=[f"east{j},{i + 1}"])
    # The ego stands in a yard, where it is in nobody's way.
    return make_scene([Agent("ego", 40.0, 60.0, speed=0.0)], tuple(lanes.values()), scene_id="city", opponent=None)


def memory() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_contact(states: np.ndarray, sizes: np.ndarray) -> int:
    """How many pairs of vehicles touch."""
    one, two = np.triu_indices(len(states), 1)
    return int(boxes_overlap(states[one, :3], sizes[one], states[two, :3], sizes[two]).sum())


def test_the_city_has_an_entrance_for_every_street():
    index = MapIndex(city(2))
    assert sum(not found for found in index.predecessors) == 4
    assert sum(not found for found in index.successors) == 4


@pytest.mark.slow
def test_ten_minutes_neither_drift_nor_leak(capsys):
    scene = city()
    env = GauntletEnv(ListSource([scene]), EngineConfig(traffic="idm-flow", horizon=10 * MINUTE, observation="none"))
    index, rows, ends, touching = MapIndex.of(scene), [], [], 0
    try:
        env.reset(seed=0, options={"scenario": 0, "ego": "replay"})
        for minute in range(10):
            present, speed, off = [], [], []
            for step in range(MINUTE):
                *_, terminated, _, info = env.step(None)
                ends.append(info["max_step"])
                if step % 10 == 0:
                    view = env.view()
                    touching += in_contact(view.agents, view.agent_sizes)
                    present.append(len(view.agents))
                    speed += np.hypot(*view.agents[:, 3:].T).tolist()
                    off += index.locate(view.agents[:, :2], view.agents[:, 2], max_distance=50.0).distance.tolist()
            rows.append((minute, np.mean(present), np.mean(speed), np.percentile(off, 99), memory()))
        counts = env._policy.counts
        record = env.recording()
    finally:
        env.close()
    with capsys.disabled():
        for row in rows:
            print("minute {:d}: {:.1f} vehicles, {:.1f} m/s, {:.2f} m off (99 %), {:.0f} MB".format(*row))
        print(counts)
    assert ends == [False] * (10 * MINUTE - 1) + [True]
    assert not terminated
    assert touching == 0
    settled = np.array(rows)[3:]
    assert np.ptp(settled[:, 1]) < 0.5 * settled[:, 1].mean(), "the number of vehicles drifts"
    assert settled[:, 2].min() > 0.6 * settled[:, 2].max(), "the traffic comes to a halt"
    assert settled[:, 3].max() < 1.0, "vehicles drift off their lanes"
    assert settled[-1, 4] - settled[0, 4] < 40.0, "memory grows"
    assert len(record.newcomers) == counts.entered > 64, "slots are used again"
    assert counts.jammed < 0.1 * counts.left
