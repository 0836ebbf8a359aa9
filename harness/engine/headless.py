"""Starting MetaDrive without a screen, without its 3D assets and without the network."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Final

from metadrive.constants import MetaDriveType
from metadrive.engine.base_engine import BaseEngine
from metadrive.engine.engine_utils import close_engine
from panda3d.core import PythonCallbackObject

from harness.engine.config import SENSORS, EngineConfig
from harness.errors import EngineError

logger = logging.getLogger(__name__)

starting = threading.RLock()
"""Held while a thread looks whether the engine is free and takes it."""

AGENT_TAG: Final = "agent"
"""Tag of a body that stands for an agent: its index."""
_CRASH_FLAGS = {
    MetaDriveType.VEHICLE: "crash_vehicle",
    MetaDriveType.PEDESTRIAN: "crash_human",
    MetaDriveType.CYCLIST: "crash_human",
    MetaDriveType.TRAFFIC_CONE: "crash_object",
    MetaDriveType.TRAFFIC_BARRIER: "crash_object",
    MetaDriveType.TRAFFIC_OBJECT: "crash_object",
    MetaDriveType.BUILDING: "crash_building",
    MetaDriveType.INVISIBLE_WALL: "crash_building",
}


class HeadlessEngine(BaseEngine):
    """MetaDrive's engine, minus the download of assets that only 3D rendering needs.

    Attributes:
        owner: The environment that started it, as a weak reference.
        process: Id of the process that started it.
    """

    owner: weakref.ref[object]
    process: int

    @staticmethod
    def try_pull_asset() -> None:
        """Fetch nothing: stock downloads (or waits for) 3D models here even when nothing is rendered."""

    def watch_contacts(self, ego: object) -> None:
        """Set the ego's crash flags from Bullet's contact callback, as stock's `collision_callback` does."""
        self.physics_world.dynamic_world.setContactAddedCallback(
            PythonCallbackObject(lambda contact: self.flag_contact(ego, contact))
        )

    @staticmethod
    def flag_contact(ego: Any, contact: Any) -> None:
        """Set the crash flag that a contact between the ego and something means, and note whom it touched."""
        first, second = contact.getNode0(), contact.getNode1()
        other = second if first == ego.chassis.node() else first
        flag = _CRASH_FLAGS.get(other.getName())
        if flag is not None:
            setattr(ego, flag, True)
        if agent := other.getTag(AGENT_TAG):
            ego.touched.add(int(agent))


def start_engine(config: Mapping[str, object], owner: object) -> HeadlessEngine:
    """Start the process's one engine for its owner, which others then may not take until it is closed or forgotten.

    Raises:
        EngineError: There is one already.
    """
    with starting:
        ensure_free()
        engine = HeadlessEngine(config)
        engine.owner, engine.process = weakref.ref(owner), os.getpid()
        BaseEngine.singleton = engine
    # Panda3D crashes the interpreter at exit when Python callbacks are still registered.
    atexit.register(close_engine)
    return engine


def engine_taken() -> bool:
    """Whether this process has a live engine. One whose owner was forgotten without a `close()` is closed first."""
    engine = BaseEngine.singleton
    if engine is None:
        return False
    if not isinstance(engine, HeadlessEngine) or engine.process != os.getpid():
        # Stock MetaDrive's, or inherited by a fork, where closing it could touch what it shares with its parent.
        return True
    if engine.owner() is not None:
        # An environment that nobody can reach may only wait for the collector: its parts refer to one another.
        gc.collect()
    if engine.owner() is not None:
        return True
    close_engine()
    return False


def owns_engine(env: object) -> bool:
    """Whether this process's live engine was started by `env`."""
    engine = BaseEngine.singleton
    return isinstance(engine, HeadlessEngine) and engine.process == os.getpid() and engine.owner() is env


def ensure_free() -> None:
    """Check that this process has no live engine.

    Raises:
        EngineError: It has.
    """
    if engine_taken():
        raise EngineError(
            "this process already has a MetaDrive engine (or was forked from one that has), and MetaDrive allows one. "
            "Close the other environment first (env.close()), reset it with other options instead, or run this one in "
            "a process of its own: isolated='auto' in the suite, workers in commands."
        )


def stock_config(options: EngineConfig) -> dict[str, object]:
    """Stock options that matter: quiet, headless, and the sensors' sizes."""
    preset = SENSORS[options.observation]
    return {
        "log_level": 40,
        "use_render": False,
        "no_light": True,
        "data_directory": "",
        "vehicle_config": {
            "lidar": {"num_lasers": preset.lidar, "distance": preset.distance, "num_others": preset.others},
            "side_detector": {"num_lasers": preset.side, "distance": preset.distance},
            "lane_line_detector": {"num_lasers": preset.lane_line, "distance": preset.distance},
            "show_navi_mark": False,
        },
    }
