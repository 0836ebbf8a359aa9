"""Contacts become flags, one engine per process, and environments that have not started one."""

from types import SimpleNamespace

import numpy as np
import pytest
from metadrive.engine.base_engine import BaseEngine

from harness.engine.config import SENSORS, EngineConfig
from harness.engine.headless import HeadlessEngine, ensure_free
from harness.envs.cores import AutoCore, LocalCore, RemoteCore
from harness.envs.suite import LogReplayEnv, make_core
from harness.errors import ConfigError, EngineError
from tests.sources import tiny_source


def contact(ego, name: str, *, ego_first: bool, tag: str = ""):
    other = SimpleNamespace(getName=lambda: name, getTag=lambda key: tag if key == "agent" else "")
    nodes = (ego.chassis.node(), other) if ego_first else (other, ego.chassis.node())
    return SimpleNamespace(getNode0=lambda: nodes[0], getNode1=lambda: nodes[1])


@pytest.mark.parametrize("ego_first", [True, False])
@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("VEHICLE", "crash_vehicle"),
        ("PEDESTRIAN", "crash_human"),
        ("CYCLIST", "crash_human"),
        ("TRAFFIC_CONE", "crash_object"),
        ("TRAFFIC_BARRIER", "crash_object"),
        ("BUILDING", "crash_building"),
        ("GROUND", None),
    ],
)
def test_a_contact_sets_the_flag_of_what_was_touched(name, flag, ego_first):
    node = SimpleNamespace(getName=lambda: "VEHICLE")
    ego = SimpleNamespace(chassis=SimpleNamespace(node=lambda: node))
    HeadlessEngine.flag_contact(ego, contact(ego, name, ego_first=ego_first))
    assert {key for key in vars(ego) if key.startswith("crash")} == ({flag} if flag else set())


def test_a_contact_says_with_whom():
    node = SimpleNamespace(getName=lambda: "VEHICLE")
    ego = SimpleNamespace(chassis=SimpleNamespace(node=lambda: node), touched=set())
    for name, tag in (("PEDESTRIAN", "7"), ("GROUND", ""), ("VEHICLE", "3")):
        HeadlessEngine.flag_contact(ego, contact(ego, name, ego_first=True, tag=tag))
    assert ego.touched == {3, 7}


def test_a_second_engine_is_refused(monkeypatch):
    monkeypatch.setattr(BaseEngine, "singleton", None)
    ensure_free()
    monkeypatch.setattr(BaseEngine, "singleton", object())
    with pytest.raises(EngineError, match="already has a MetaDrive engine"):
        ensure_free()


@pytest.mark.parametrize("isolated", [False, True, "auto"])
def test_a_core_has_spaces_but_no_simulator_before_its_first_reset(isolated):
    core = make_core(tiny_source(), EngineConfig(observation="metadrive"), isolated=isolated)
    assert isinstance(core, {False: LocalCore, True: RemoteCore, "auto": AutoCore}[isolated])
    assert core.observation_space.shape == (SENSORS["metadrive"].size,)
    with pytest.raises(EngineError, match=r"call reset\(\) first"):
        core.step(np.zeros(2, np.float32))
    core.close()
    core.close()


def test_where_the_simulator_may_run_is_checked():
    with pytest.raises(ConfigError, match="expected True, False or 'auto'"):
        make_core(tiny_source(), EngineConfig(), isolated="always")


def test_scenes_in_memory_have_no_splits():
    with pytest.raises(ConfigError, match="split 'train' needs `data` to be a name or a folder"):
        LogReplayEnv(tiny_source(), "train")


def test_every_part_of_a_shared_docstring_is_filled_in():
    assert "{spaces}" not in LogReplayEnv.__doc__
    assert "{arguments}" not in LogReplayEnv.__doc__
    assert "## Version History" in LogReplayEnv.__doc__
