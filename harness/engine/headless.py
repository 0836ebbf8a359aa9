"""Starting MetaDrive without a screen, without its 3D assets and without the network."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from typing import Any

from metadrive.constants import MetaDriveType
from metadrive.engine.base_engine import BaseEngine
from metadrive.engine.engine_utils import close_engine
from panda3d.core import PythonCallbackObject

from harness.errors import EngineError

logger = logging.getLogger(__name__)

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
    """MetaDrive's engine, minus the download of assets that only 3D rendering needs."""

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
        """Set the crash flag that a contact between the ego and something means."""
        first, second = contact.getNode0(), contact.getNode1()
        flag = _CRASH_FLAGS.get((second if first == ego.chassis.node() else first).getName())
        if flag is not None:
            setattr(ego, flag, True)


def start_engine(config: Mapping[str, object]) -> HeadlessEngine:
    """Start the process's one engine.

    Raises:
        EngineError: There is one already.
    """
    ensure_free()
    BaseEngine.singleton = HeadlessEngine(config)
    # Panda3D crashes the interpreter at exit when Python callbacks are still registered.
    atexit.register(close_engine)
    return BaseEngine.singleton


def ensure_free() -> None:
    """Check that this process has no live engine.

    Raises:
        EngineError: It has.
    """
    if BaseEngine.singleton is not None:
        raise EngineError(
            "this process already has a MetaDrive engine, and MetaDrive allows one. Close the other environment "
            "first (env.close()), reset it with other options instead, or run this one in its own process."
        )
