"""Modules that have new names: the old ones work until 0.3.0, with a warning that names the new one."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

MOVED: Final = {
    "adversaries._bounds": "adversaries.gradient.bounds",
    "adversaries._candidates": "adversaries.common.candidates",
    "adversaries._descent": "adversaries.gradient.descent",
    "adversaries._drivable": "adversaries.common.drivable",
    "adversaries._plans": "adversaries.common.plans",
    "adversaries.adv_traj_opt": "adversaries.gradient.adv_traj_opt",
    "adversaries.bicycle": "adversaries.gradient.bicycle",
    "adversaries.king": "adversaries.gradient.king",
    "adversaries.protocol": "harness.episodes.protocol",
    "harness.actions": "harness.episodes.actions",
    "harness.attack_export": "harness.attacks.export",
    "harness.attack_picture": "harness.drawing.attacks",
    "harness.attack_simulation": "harness.attacks.closed_loop",
    "harness.benchmarking.protocols": "harness.episodes.protocol",
    "harness.benchmarking.records": "harness.episodes.records",
    "harness.engine.render": "harness.drawing.live",
    "harness.engine.traffic_policies": "harness.traffic.log_policies",
    "harness.envs.ego_buffer": "harness.episodes.ego_buffer",
    "harness.envs.schedules": "harness.episodes.schedules",
    "harness.open_loop": "harness.attacks.open_loop",
    "harness.policies": "harness.episodes.policies",
    "harness.report.curves": "harness.drawing.curves",
    "harness.report.playback": "harness.drawing.playback",
    "harness.report.rollout_fan": "harness.drawing.rollouts",
    "harness.rollout": "harness.episodes.rollout",
    "harness.runs": "harness.commands.runs",
    "harness.scenario_drawing": "harness.drawing.scenes",
    "harness.seal_rollouts": "harness.attacks.every_candidate",
    "harness.traffic.backbone": "adversaries.sage.smart_backbone",
    "harness.traffic.idm": "harness.traffic.lane_idm",
    "harness.traffic.simulators": "harness.traffic.make",
    "harness.traffic.specs": "harness.traffic.make",
    "harness.traffic.steered": "adversaries.sage.smart",
    "harness.training.rules": "harness.episodes.rules",
    "harness.worker_processes": "harness.executors.processes",
    "harness.worker_ray": "harness.executors.ray",
    "harness.workers": "harness.executors",
}
"""Old dotted name → new one."""


class OldNames(MetaPathFinder, Loader):
    """Imports a module under its old name as the very module of the new name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for old names only."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in the place of the empty one."""
        old, new = module.__name__, MOVED[module.__name__]
        warnings.warn(f"{old} is now {new}; the old name goes with 0.3.0.", FutureWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)


def install() -> None:
    """Let old names be imported; calling it again changes nothing."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
