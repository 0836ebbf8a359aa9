"""The environment behind every id of the suite: the engine, plus who attacks, when and how hard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from harness.episodes.actions import check_action
from harness.episodes.attacks import Attack, Precondition, outcome_of, plan_attack
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.escapes import with_regret
from harness.episodes.protocol import CORRECTED, Protocol
from harness.episodes.schedules import FixedSchedule, Scheduler
from harness.episodes.starts import beginnings, draw_start
from harness.errors import ConfigError, EngineError
from harness.interfaces import Adversary, AttackSchedule
from scenarios.scenario import Scenario, ScenarioSource

logger = logging.getLogger(__name__)

OPTIONS: Final = ("scenario", "attack", "intensity", "start")
"""Keys that `reset(options=...)` understands."""


def check_whole(seed: object, start_steps: object) -> None:
    """Refuse numbers of an environment that are not whole, or negative; None is a random seed.

    Raises:
        ConfigError: Names the number.
    """
    for name, value, more in (("seed", seed, ", or None for a random one"), ("start_steps", start_steps, "")):
        if (value is not None or not more) and (not isinstance(value, Integral) or value < 0):
            raise ConfigError(f"{name} is {value!r:.80}; expected a whole number from 0 on{more}.")


def draw_scene(scenes: Sequence[int], rng: np.random.Generator) -> int:
    """The scene of an episode: the first that is drawn from the episode's generator."""
    return scenes[int(rng.integers(len(scenes)))]


class AttackingEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Drives scenes, some of them attacked.

    Before an attacked episode the adversary plans against the ego's recent trajectories in that scene (its log
    before the first). A scene that cannot be attacked (no opponent, say) is played as recorded, and `info` says why.

    Everything random in an episode comes from a generator of its own (`rng`), drawn in this order: scene, chance of an
    attack, the choice of a curriculum that chooses both (not where `scenario` is given), the step at which it begins,
    whatever the adversary draws, seed of the engine. `reset(seed=s)` restarts
    these generators and forgets remembered trajectories: equal seeds give equal episodes. Only where a scheduler learns
    (a curriculum), its experience outlives seeds: steps, outcomes, remembered trajectories. `restart()` forgets it,
    `set_progress()` sets how far it has come, and `state_dict()` takes it to another process.

    An episode that is ended from outside (a time limit, a reset) counts as far as it was driven, at the next reset.

    After a reset, `rng`, `scenario_index`, `schedule` and `attack` say what was drawn and planned.

    Reset options:
        scenario: Index or id; default, also where None is given: drawn uniformly.
        attack: Whether to attack; default: drawn with the schedule's probability.
        intensity: Intensity of the attack; default: the schedule's.
        start: Step of the log at which the episode begins; default: 0, or drawn where there are `start_steps`.

    Info at reset: `scenario_index`, `scenario_id`, `attacked`, `intensity`, `attack_error` (empty where all is well),
    `attack_refused`.
    Info at the last step: also `outcome`, an `EpisodeOutcome`, and `drive_kept`, whether the drive is remembered.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's)

    def __init__(
        self,
        core: Any,
        source: ScenarioSource,
        *,
        scenes: Sequence[int] | None = None,
        adversary: Adversary | None = None,
        scheduler: Scheduler | None = None,
        buffer: EgoBuffer | None = None,
        protocol: Protocol = CORRECTED,
        start_steps: int = 0,
        precondition: Precondition | None = None,
        generators: Callable[[], np.random.Generator] | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Compose an environment.

        Args:
            core: The simulator: a `GauntletEnv`, or a core of `harness.envs.cores`. Closed with this environment.
            source: The scenes of `core`.
            scenes: Indices of the scenes to draw from; default: all.
            adversary: Who attacks; None for nobody.
            scheduler: When and how hard; default: always, at full intensity, where there is an adversary.
            buffer: Remembered ego trajectories.
            protocol: Decides whether plans are played one step late.
            start_steps: Episodes begin at any step of the log up to this one, see `harness.episodes.starts`.
            precondition: Attacks that fail it are not played; see `plan_attack`.
            generators: Gives the generator of the next episode; default: derived from the seed.
            seed: Seed until `reset(seed=...)` gives another; None for a random one.
            render_mode: `rgb_array` or None.

        Raises:
            ConfigError: No scene to drive, an unknown render mode, or a seed or a step that is none.
        """
        if not isinstance(render_mode, str | None) or render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode {render_mode!r:.80} is not supported; use 'rgb_array' or None.")
        check_whole(seed=seed, start_steps=start_steps)
        self._scenes = list(range(len(source)) if scenes is None else scenes)
        if not self._scenes:
            raise ConfigError("there is no scene to drive: the source is empty.")
        self.core = core
        self.source = source
        self.adversary = adversary
        self.scheduler: Scheduler = scheduler or FixedSchedule(1.0 if adversary else 0.0, 1.0)
        self.buffer = EgoBuffer() if buffer is None else buffer
        self.protocol = protocol
        self.start_steps = start_steps
        self.precondition = precondition
        self.render_mode = render_mode
        self.observation_space = core.observation_space
        self.action_space = core.action_space
        self.rng = np.random.default_rng(0)
        self.scenario_index = -1
        self.schedule = AttackSchedule(0.0, 0.0)
        self.attack = Attack()
        self._generators = generators
        self._first_seed = None if seed is None else int(seed)
        self._names = tuple(source.ids[index] for index in self._scenes)
        self._index_of: dict[str, int] | None = None
        self._scenario: Scenario | None = None
        self._steps = 0
        self._under_way: Mapping[str, Any] | None = None  # Info of the last step of an episode that has not ended.

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode (see the class for `options` and `info`).

        Raises:
            ConfigError: Unknown options, scene or types.
            ScenarioError: The scene cannot be read.
            EngineError: The simulator cannot start.
        """
        options = self._check_options(options)
        self._count_cut_off()
        if seed is None and self._first_seed is not None:
            seed = self._first_seed
        self._first_seed = None
        super().reset(seed=seed)
        if seed is not None and not self.scheduler.learns:
            self.buffer.clear()
        self.rng = self._generators() if self._generators else np.random.default_rng(self.np_random.integers(2**63))
        self.scenario_index = self._pick(options.get("scenario"))
        self.schedule = self.scheduler.current()
        chance = self.rng.random()
        choice = self.scheduler.choose(self._names, self.rng) if "scenario" not in options else None
        if choice is not None:
            self.scenario_index, self.schedule = self._scenes[choice[0]], choice[1]
        scenario = self.source[self.scenario_index]
        wanted = bool(options.get("attack", chance < self.schedule.probability))
        start = self._start(scenario, options.get("start"))
        self.attack = plan_attack(
            self.adversary if wanted else None,
            scenario,
            self.rng,
            intensity=float(options.get("intensity", self.schedule.intensity)),
            ego=self.buffer.get(scenario),
            ego_size=self.core.options.ego_box,
            protocol=self.protocol,
            on_error="tell",
            precondition=self.precondition,
        )
        if choice is not None and wanted and self.attack.plan is None:
            self.scheduler.unattackable(scenario.id, self.schedule.intensity)
        observation, info = self.core.reset(
            seed=int(self.rng.integers(2**31)),
            options={"scenario": self.scenario_index, "plan": self.attack.plan, "ego": "policy", "start": start},
        )
        self._scenario, self._steps = scenario, 0
        return observation, {**info, **self._episode_info(scenario)}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Advance by 0.1 s.

        Raises:
            PolicyError: The action is not two finite numbers.
            EngineError: `reset` was not called.
        """
        if self._scenario is None:
            raise EngineError("step() before reset(): call reset() to begin an episode.")
        checked = check_action(action, policy="agent", step=self._steps, scene=self._scenario.id)
        before, self._under_way = self._under_way, None  # A step that fails leaves nothing that could count.
        observation, reward, terminated, truncated, info = self.core.step(checked)
        self._steps += 1
        self.scheduler.advance(1)
        terminated, truncated = bool(terminated), bool(truncated)
        if not (terminated or truncated):
            self._under_way = info
        elif before is not None or self._steps == 1:
            info = {**info, **self._finish(info)}
        return observation, float(reward), terminated, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """Picture from above [H, W, 3], or None without a render mode."""
        return self.core.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the simulator: another environment may then be made in this process."""
        self.core.close()

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles take along: everything but the episode under way; they begin with a reset."""
        return {**vars(self), "_scenario": None, "_under_way": None}

    def restart(self) -> None:
        """Forget all experience: remembered trajectories, and how far a curriculum has come."""
        self._under_way = None
        self.buffer.clear()
        self.scheduler.restart()

    def set_progress(self, progress: float) -> None:
        """Let the curriculum go on at a share of its budget, 0 … 1: for a training that is resumed elsewhere.

        Raises:
            ConfigError: There is no curriculum, or the share is not in [0, 1].
        """
        self.scheduler.set_progress(progress)

    def state_dict(self) -> dict[str, Any]:
        """Generator, schedule and remembered trajectories, to go on exactly between episodes."""
        return {
            "rng": self.np_random.bit_generator.state,
            "scheduler": self.scheduler.state_dict(),
            "buffer": self.buffer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; call it before the next `reset()`."""
        self._first_seed = self._under_way = None
        self.np_random.bit_generator.state = state["rng"]
        self.scheduler.load_state_dict(state["scheduler"])
        self.buffer.load_state_dict(state["buffer"])

    def _check_options(self, options: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if not isinstance(options, Mapping | None):
            raise ConfigError(f"reset options: expected a dictionary of {', '.join(OPTIONS)}, got {options!r}.")
        options = {name: value for name, value in (options or {}).items() if value is not None}
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise ConfigError(f"unknown reset option {unknown[0]!r}. Known: {', '.join(OPTIONS)}.")
        attack, intensity = options.get("attack", False), options.get("intensity", 0.0)
        if not isinstance(attack, bool | np.bool_):
            raise ConfigError(f"reset option attack: expected True or False, got {attack!r}.")
        if attack and self.adversary is None:
            raise ConfigError("reset option attack=True, but this environment has no adversary.")
        if not isinstance(intensity, Real) or not np.isfinite(float(intensity)):
            raise ConfigError(f"reset option intensity: expected a finite number, got {intensity!r}.")
        return options

    def _start(self, scenario: Scenario, wanted: Any) -> int:
        """The step asked for, or a random one."""
        if wanted is not None:
            # What it is, the simulator checks.
            return wanted  # type: ignore[no-any-return]
        if not self.start_steps:
            return 0
        path, there = scenario.position[scenario.ego, :, :2], scenario.valid[scenario.ego]
        return draw_start(beginnings(path, there, self.start_steps, self.core.options.horizon), self.rng)

    def _pick(self, wanted: Any) -> int:
        """Index of the scene asked for, or of a random one."""
        # Always drawn, so that options do not shift what the episode draws next.
        drawn = draw_scene(self._scenes, self.rng)
        if wanted is None:
            return drawn
        if isinstance(wanted, str):
            if self._index_of is None:
                self._index_of = {name: index for index, name in enumerate(self.source.ids)}
            if wanted not in self._index_of:
                raise ConfigError(f"reset option scenario: no scene {wanted!r} among {len(self.source)}.")
            return self._index_of[wanted]
        if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool) and 0 <= wanted < len(self.source):
            return int(wanted)
        raise ConfigError(
            f"reset option scenario: expected an id or an index below {len(self.source)}, got {wanted!r}."
        )

    def _episode_info(self, scenario: Scenario) -> dict[str, Any]:
        return {
            "scenario_index": self.scenario_index,
            "scenario_id": scenario.id,
            "attacked": self.attack.plan is not None,
            "intensity": self.attack.played_intensity,
            "attack_error": self.attack.error,
            "attack_refused": self.attack.refused,
        }

    def _count_cut_off(self) -> None:
        """Let an episode that was ended from outside count as far as it was driven."""
        info, self._under_way = self._under_way, None
        if info is None or self._scenario is None:
            return
        try:
            recording = self.core.recording()
        except EngineError as error:
            logger.warning("an episode that was cut off cannot count: %s", error)
            return
        # The simulator may have driven something else meanwhile: it belongs to whoever made it.
        if (recording.scenario_id, recording.steps - recording.start) == (self._scenario.id, self._steps):
            self._finish(info)

    def _finish(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Remember what the ego did and tell the schedule how it went."""
        assert self._scenario is not None
        recording = self.core.recording()
        outcome = outcome_of(self.attack, recording, info)
        if self.scheduler.chooses and outcome.attacked:
            box = self.core.options.ego_box
            outcome = with_regret(outcome, self._scenario, self.attack.plan, recording.ego, box)
        self.scheduler.record(outcome)
        kept = self.buffer.add(self._scenario.id, recording.ego, attacked=outcome.attacked)
        return {"outcome": outcome, "drive_kept": kept}
