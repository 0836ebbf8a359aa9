"""The fast engine under an id of its own: many environments at once, with the arguments of the suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import EngineConfig
from harness.envs.attacking import check_whole
from harness.envs.suite import (
    Data,
    ObservationPreset,
    RewardPreset,
    documented,
    make_adversary,
    open_scenes,
    with_options,
)
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.schedules import CurriculumSchedule, FixedSchedule, Scheduler
from harness.errors import ConfigError
from harness.fast.episodes import AttackedEpisodes
from harness.fast.library import playable_scenes
from harness.fast.made_for import LOGGED
from harness.fast.vector import FastVectorEnv
from harness.interfaces import Adversary
from harness.specs import build
from scenarios.selection import LeftOut

_CACHED: Final = 512
"""Scenes kept in memory for attacks to be planned in (a WOMD scene takes a megabyte or two)."""


@documented
class FastEnv(FastVectorEnv):
    """Gymnasium vector environment.

    ## Description
    `Gauntlet/Fast-v0`: `num_envs` environments on the fast engine, at 10 Hz. Without an adversary they play what
    `Gauntlet/LogReplay-v0` does, with one what `Gauntlet/Adversary-v0` does, and with a curriculum as well what
    `Gauntlet/Curriculum-v0` does. Scenes, remembered drives and curriculum are shared by all of them. Everybody else
    follows the log, or what `traffic` names. Made for training: what is reported should be measured by the suite, in
    MetaDrive.

    An environment whose episode has ended begins the next one within the same step (`AutoresetMode.SAME_STEP`).

    Scenes are packed by processes of their own at first use, and kept in the user's cache; one that cannot be
    simulated is left out.

    Everything random in episode n comes from a generator that follows from the seed and n: equal seeds and numbers of
    environments give equal episodes. A seed forgets remembered drives, except where a curriculum learns: its
    experience outlives seeds. `restart()` forgets it, `set_progress(0.4)` goes on at 40 % of the budget.
    `state_dict()` and `load_state_dict()` take everything along, episodes under way included. Episodes that a reset
    ends count as far as they were driven.

    {spaces}
    With the reward `drive`, contact with a vehicle ends an episode.

    ## Arguments
    `gymnasium.make_vec("Gauntlet/Fast-v0", num_envs=256, adversary="cat", curriculum="dual_axis")`

    - `num_envs` (default 64): environments.
    {common}
    - `adversary` (default None, nobody): `"NAME[:FILE][?key=value&…][@λ]"`, `"module:Class"`, or an `Adversary` whose
      opponents follow a plan; `adversary_options` (default None): its own options.
    - `intensity` (default 1.0): 0 natural … 1 vicious; `probability` (default 1.0): of an attack, per episode. Neither
      is given with a curriculum, which sets both.
    - `curriculum` (default None): `"NAME[?key=value&…]"` or `"module:Class"`; `curriculum_options` (default None).
    - `total_steps` (default 1,000,000): budget of the curriculum, steps of all environments together. The steps of an
      episode count when it has ended.
    - `buffer_size` (default 5): ego trajectories remembered per scene.
    - `traffic` (default `"log"`): what moves the background; `"idm-lane"` (with options: `"idm-lane?gap=1.2"`) lets
      vehicles leave their logs after a second and drive along the lanes, braking for the ego.
    - `threads` (default 1): kernels side by side. The results do not depend on it.

    `info` holds an array [N] under each name, `attacked` and `intensity` among them. `env.unwrapped.episodes` counts
    attacks and scenes that could not be attacked. `reset(options=...)` knows `episodes`: what each environment plays,
    a list of `Play` or of (index of a scene, plan).

    ## Version History
    - v0: first release.
    """

    def __init__(
        self,
        num_envs: int = 64,
        data: Data = "procedural",
        split: str | None = None,
        *,
        observation: ObservationPreset = "cat",
        reward: RewardPreset = "cat",
        horizon: int | None = None,
        start_steps: int = 0,
        seed: int | None = None,
        fit_only: bool = False,
        adversary: str | Adversary | None = None,
        adversary_options: dict[str, object] | None = None,
        intensity: float | None = None,
        probability: float | None = None,
        curriculum: str | None = None,
        curriculum_options: dict[str, Any] | None = None,
        total_steps: int = 1_000_000,
        buffer_size: int = 5,
        traffic: str = LOGGED,
        threads: int = 1,
    ) -> None:
        """Open the data and pack it (arguments: see the class).

        Raises:
            ConfigError: An argument is of the wrong kind, or does not go with another.
            ScenarioError: No scene can be simulated.
        """
        check_whole(seed=seed, start_steps=start_steps)
        attacker, own = (None, None) if adversary is None else make_adversary(adversary, adversary_options)
        fixed = {"adversary@": own, "intensity": intensity, "probability": probability}
        self._scheduler = self._schedule(attacker, fixed, curriculum, curriculum_options, total_steps)
        source, self.left_out = open_scenes(data, split, fit_only, _CACHED)
        unplayable: list[LeftOut] = []
        packed, self._source = playable_scenes(source, traffic=traffic, left_out=unplayable)
        self.left_out += tuple(unplayable)
        self._attacker, self._buffer = attacker, EgoBuffer(buffer_size)
        self._starts = packed.beginnings(start_steps, horizon) if start_steps else None
        first = np.random.SeedSequence().generate_state(1).item() if seed is None else int(seed)
        self._under_way = False
        options = EngineConfig(horizon=horizon, observation=observation, reward=reward, traffic=traffic)
        super().__init__(packed, num_envs, options, threads=threads)
        self._draw_from(first)

    @staticmethod
    def _schedule(
        attacker: Adversary | None,
        fixed: Mapping[str, float | None],
        curriculum: str | None,
        options: dict[str, Any] | None,
        total_steps: int,
    ) -> Scheduler:
        """When and how hard is attacked; `fixed` says by which argument the intensity or the probability is set."""
        given = [name for name, value in fixed.items() if value is not None]
        if attacker is None and (given or curriculum is not None):
            raise ConfigError(f"{given[0] if given else 'curriculum'} is given, but there is no adversary. Name one.")
        if curriculum is None:
            own, intensity, probability = fixed.values()
            hard = own if own is not None else 1.0 if intensity is None else intensity
            often = 1.0 if probability is None else probability
            return FixedSchedule(0.0 if attacker is None else often, hard)
        if given:
            raise ConfigError(f"the curriculum sets intensity and probability. Leave out {given[0]!r}.")
        return CurriculumSchedule(build("curriculum", with_options(curriculum, options)), total_steps)

    def _draw_from(self, seed: int) -> None:
        self._seed = seed
        self.episodes = AttackedEpisodes(
            self._source,
            adversary=self._attacker,
            scheduler=self._scheduler,
            buffer=self._buffer,
            starts=self._starts,
            seed=seed,
        )
        self._given = self._episodes = self.episodes

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every environment.

        Args:
            seed: Decides everything that is drawn from now on; None goes on. Of several the first counts.
            options: See the class.

        Raises:
            ConfigError: An unknown option or scene, or a plan that does not fit.
        """
        first = seed if isinstance(seed, int | np.integer | None) else seed[0]
        if self._under_way:
            for environment, play in enumerate(self._plays):
                if self.fleet.step[environment] > play.start:
                    self.episodes.finished(self._finished(environment))
        if first is not None:
            if not self._scheduler.learns:
                self._buffer.clear()
            self._draw_from(int(first))
        self._under_way = False  # A reset that fails leaves nothing that could count.
        begun = super().reset(options=options)
        self._under_way = True
        return begun

    def restart(self) -> None:
        """Forget all experience: remembered trajectories, and how far a curriculum has come. Reset afterwards."""
        self._under_way = False
        self._buffer.clear()
        self._scheduler.restart()

    def set_progress(self, progress: float) -> None:
        """Let the curriculum go on at a share of its budget, 0 … 1.

        Raises:
            ConfigError: There is no curriculum, or the share is not in [0, 1].
        """
        self._scheduler.set_progress(progress)

    def state_dict(self) -> dict[str, Any]:
        """Episodes under way, what is drawn next, schedule and remembered drives: everything to go on exactly."""
        return {**super().state_dict(), "seed": self._seed, "episodes": self.episodes.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> NDArray[np.float32]:
        """Go on where `state_dict` was taken, with the same arguments; returns the observations [N, D].

        Raises:
            ConfigError: The state is not of these environments.
        """
        arrays = {name: array for name, array in state.items() if name not in ("seed", "episodes")}
        observations = super().load_state_dict(arrays)
        self._draw_from(int(state["seed"]))
        self.episodes.load_state_dict(state["episodes"])
        self._under_way = True
        return observations

    def _info(self) -> dict[str, Any]:
        plays = self._plays
        return {
            **super()._info(),
            "attacked": self.fleet.plan_first >= 0,
            "intensity": np.array([play.intensity for play in plays]),
        }
