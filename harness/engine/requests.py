"""What an environment's `reset` may be told: which scene, from which step on, attacked by what, with which ego."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from harness.engine.config import EngineConfig
from harness.engine.scene import Scene
from harness.errors import ConfigError
from harness.interfaces import STATE, AttackPlan
from scenarios.scenario import ScenarioSource


class Request(NamedTuple):
    """One episode that is asked for; see `GauntletEnv` for the options.

    Attributes:
        scenario: Index of the scene, or None: any.
        plan: What the opponent does, or None.
        replay: Whether the ego follows its log.
        start: Logged step at which the episode begins.
        until: Step at which it is cut off, if the environment's own horizon does not cut it off before, or None.
    """

    scenario: int | None
    plan: AttackPlan | None
    replay: bool
    start: int
    until: int | None


class RequestReader:
    """Reads options of `reset` for one source."""

    def __init__(self, source: ScenarioSource) -> None:
        """Its ids are looked at once one is named."""
        self._source = source
        self._by_id: dict[str, int] | None = None

    def read(self, options: Mapping[str, object]) -> Request:
        """What the options ask for.

        Raises:
            ConfigError: An unknown option or scene, or a value that cannot be.
        """
        options = dict(options)
        which, plan, ego = options.pop("scenario", None), options.pop("plan", None), options.pop("ego", "policy")
        start, until = options.pop("start", 0), options.pop("until", None)
        if options:
            raise ConfigError(f"unknown reset options {sorted(options)}; known are scenario, plan, ego, start, until")
        if ego not in ("policy", "replay"):
            raise ConfigError(f"option ego is {ego!r}; it must be 'policy' or 'replay'")
        if plan is not None and not isinstance(plan, AttackPlan):
            raise ConfigError(f"option plan is a {type(plan).__name__}; it must be an AttackPlan or None")
        if isinstance(start, bool) or not isinstance(start, int | np.integer):
            raise ConfigError(f"option start is {start!r:.80}; it must be a whole number of steps")
        if until is not None and (isinstance(until, bool) or not isinstance(until, int | np.integer) or until <= start):
            raise ConfigError(f"option until is {until!r:.80}; it must be a whole number of steps, beyond start")
        index = None if which is None else self._index(which)
        return Request(index, plan, ego == "replay", int(start), None if until is None else int(until))

    def _index(self, which: object) -> int:
        if isinstance(which, str):
            if self._by_id is None:
                self._by_id = {name: index for index, name in enumerate(self._source.ids)}
            if which not in self._by_id:
                raise ConfigError(f"no scene {which!r} among the {len(self._source)} scenes of this environment")
            return self._by_id[which]
        index = int(which)  # type: ignore[call-overload]
        if not 0 <= index < len(self._source):
            raise ConfigError(f"scene index {which} is outside 0 … {len(self._source) - 1}")
        return int(index)


def check_request(scene: Scene, request: Request, config: EngineConfig) -> None:
    """Refuse a plan that does not fit the scene, and a step at which no episode can begin.

    Raises:
        ConfigError: With the reason.
    """
    scenario = scene.scenario
    config.check_start(scenario.id, request.start, scenario.valid[scenario.ego])
    plan = request.plan
    if plan is None:
        return
    if scenario.opponent is None:
        raise ConfigError(f"scene {scenario.id} has no opponent, so a plan has nobody to drive")
    states, valid = np.asarray(plan.states), np.asarray(plan.valid)
    if states.ndim != 2 or states.shape[1] != STATE or valid.shape != states.shape[:1]:
        raise ConfigError(f"a plan needs states [T, {STATE}] and valid [T]; found {states.shape}, {valid.shape}")
    if not np.isfinite(states[valid.astype(bool)]).all():
        raise ConfigError(f"the plan for scene {scenario.id} holds NaN or infinite states in valid rows")
    if plan.controller is None:
        return
    if plan.takeover_step is None or plan.takeover_step < 1 or not scene.is_vehicle[scenario.opponent]:
        raise ConfigError(
            f"the plan for scene {scenario.id} has a controller: it needs a takeover_step >= 1 (found "
            f"{plan.takeover_step}) and an opponent that is a vehicle"
        )
