"""The registered environments. Their docstrings follow Gymnasium's template; the base class documents the options."""

from __future__ import annotations

import inspect
import logging
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, TypeVar, Unpack

import numpy as np

from harness.engine.config import EngineConfig
from harness.envs.attacking import AttackingEnv
from harness.envs.cores import AutoCore, Isolated, LocalCore, RemoteCore
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.schedules import CurriculumSchedule, FixedSchedule, Scheduler
from harness.errors import ConfigError
from harness.interfaces import Adversary
from harness.specs import Spec, build, parse
from scenarios.scenario import ScenarioSource
from scenarios.selection import LeftOut, fit_scenes, left_out, left_out_line, readable_scenes, resampled_line
from scenarios.store import CACHE_SCENES

_LOG = logging.getLogger(__name__)

Data = str | Path | ScenarioSource
ObservationPreset = Literal["cat", "metadrive", "route"]
RewardPreset = Literal["cat", "metadrive", "drive"]

_COMMON: Final = """
    - `data` (default `"procedural"`): the embedded procedural scenes, a folder of ScenarioNet pickles, or a
      `ScenarioSource`.
    - `split` (default None, all): name of a fixed split of `data`, such as `"train"` or `"test"`.
    - `observation` (default `"cat"`), `reward` (default `"cat"`): presets; further ones are `"metadrive"`, and
      `"route"` and `"drive"`, which are made for training an ego.
    - `horizon` (default None, where the scene ends): steps of 0.1 s until truncation. CAT trains with 50.
    - `start_steps` (default 0): episodes begin at any step of the log up to this one that leaves a way to drive.
    - `seed` (default None, random): until `reset(seed=...)`.
    - `fit_only` (default False): leave out scenes that are unfit for attacks (no opponent, its track too short or off
      the road, ego at rest). Files that cannot be read are always left out. `env.unwrapped.left_out` names both with
      the reason.
"""

_ARGUMENTS: Final = f"""{_COMMON.rstrip()}
    - `render_mode` (default None): `"rgb_array"` for pictures from above.
    - `isolated` (default `"auto"`): where the simulator runs. MetaDrive allows one engine per process. `"auto"` takes
      this process's where it is free at the first reset, otherwise starts a process for it; True always starts one;
      False never does, and raises `EngineError` where the engine is taken. Results are the same.
"""

_SPACES: Final = """
    ## Observation Space
    `Box(0, 1, (n,), float32)`: n = 112 (`cat`) or 161 (`metadrive`), everything scaled to [0, 1]. `route` is
    `Box(-1, 1, (252,), float32)`; see `harness.fast.route_view` for its numbers, and `harness.engine.layout` for those
    of the others one by one.

    | Part | `cat` | `metadrive` | Unit before scaling |
    |---|---|---|---|
    | distance to road edges and continuous lines | 30 rays | 12 rays | m, of 50 |
    | heading against the route, speed, steering, last action | 5 | 5 | rad, km/h, [-1, 1] |
    | size of the yaw rate | 1 | 1 | rad/s |
    | distance to lane lines (`cat`), offset from the route (`metadrive`) | 12 rays | 1 | m, of 50 / of 4 |
    | nine way points ahead in the car's frame, lateral and heading error, two zeros | 22 | 22 | m, rad |
    | nearest others: relative position and velocity | 3 × 4 | 0 | m, km/h |
    | lidar: vehicles, people, objects | 30 rays | 120 rays | m, of 50 |

    ## Action Space
    `Box(-1, 1, (2,), float32)`.

    | Num | Action | Min | Max | Unit |
    |---|---|---|---|---|
    | 0 | steering, left positive | -1 | 1 | of 40° front wheel angle |
    | 1 | throttle (positive) or brake (negative) | -1 | 1 | of the car's largest force |

    ## Rewards
    Metres driven along the route per step. `cat`: instead of them +10 at arrival, -10 off the road, -1 in contact
    with a vehicle or object. `metadrive`: MetaDrive 0.4.3's (+5, -5, -1 and smoothness terms, never negative
    otherwise). `info["cost"]` is 1 in a step off the road or in contact (`metadrive`: their sum).

    ## Starting State
    The logged state of the ego at step 0 of the scene, or at a later one with `start_steps`. The scene is a random one
    unless `options={"scenario": …}` names it.

    ## Episode End
    Terminated on arrival (95 % of the logged path) and off the road (`cat`: over 10 m off the path, across a yellow
    continuous line or a sidewalk; `metadrive`: over 4 m off). Truncated after `horizon` steps, or where the scene's
    recording ends (after 90 steps of a scene of 9.1 s, as WOMD's and the generated ones are). Contact does not end
    an episode.
"""


def make_core(
    source: ScenarioSource, options: EngineConfig, *, isolated: Isolated = "auto"
) -> LocalCore | RemoteCore | AutoCore:
    """The simulator of an environment, not started yet: here, in a process of its own, or where there is room.

    Raises:
        ConfigError: `isolated` is none of True, False and `"auto"`.
    """
    automatic = isinstance(isolated, str) and isolated == "auto"
    if not automatic and not isinstance(isolated, bool | np.bool_):
        raise ConfigError(f"isolated is {isolated!r:.80}; expected True, False or 'auto'.")
    kind = AutoCore if automatic else RemoteCore if isolated else LocalCore
    return kind(source, options)


def _open(data: Data, split: str | None, cache_scenes: int) -> ScenarioSource:
    if isinstance(data, (str, Path)):
        from scenarios import open_source

        return open_source(data, split=split, cache_scenes=cache_scenes)
    if split is not None:
        raise ConfigError(f"split {split!r} needs `data` to be a name or a folder; a source in memory has no splits.")
    if not hasattr(data, "ids"):
        raise ConfigError(f"data: expected 'procedural', a path or a ScenarioSource, got {data!r:.80}.")
    return data


def open_scenes(
    data: Data, split: str | None, fit_only: bool, cache_scenes: int = CACHE_SCENES
) -> tuple[ScenarioSource, tuple[LeftOut, ...]]:
    """The scenes of an environment, and those that are left out; the log says of them, and of resampled ones.

    Raises:
        ConfigError: An argument is of the wrong kind, or names nothing.
    """
    if not isinstance(fit_only, bool | np.bool_):
        raise ConfigError(f"fit_only is {fit_only!r:.80}; expected True or False.")
    source = _open(data, split, cache_scenes)
    source = fit_scenes(source) if fit_only else readable_scenes(source)
    without = tuple(left_out(source))
    if without and not fit_only:
        _LOG.warning("%s", left_out_line(without, len(source) + len(without)))
    if line := resampled_line([source]):
        _LOG.warning("%s.", line)
    return source, without


def make_adversary(name: str | Adversary, options: dict[str, object] | None) -> tuple[Adversary, float | None]:
    """The adversary that a specification names (see `harness.specs`), and the intensity behind its @, if any."""
    if not isinstance(name, str):
        if not callable(getattr(name, "plan", None)):
            raise ConfigError(f"adversary: expected a name such as 'cat@0.5', or an Adversary, got {name!r:.80}.")
        return name, None
    spec = with_options(name, options)
    return build("adversary", spec), spec.intensity


def with_options(text: str, options: dict[str, object] | None) -> Spec:
    """A specification with more options."""
    spec = parse(text)
    if not isinstance(options, Mapping | None) or not all(isinstance(name, str) for name in options or ()):
        raise ConfigError(f"options of {text!r}: expected a dictionary of them by name, got {options!r:.80}.")
    return spec._replace(options={**spec.options, **(options or {})})


_Env = TypeVar("_Env", bound=type)


def documented(cls: _Env) -> _Env:
    """Fill the parts that every id's docstring shares."""
    shared = {"{spaces}": _SPACES, "{arguments}": _ARGUMENTS, "{common}": _COMMON}
    text = inspect.cleandoc(cls.__doc__ or "")
    for mark, part in shared.items():
        text = text.replace(mark, textwrap.dedent(part).strip("\n"))
    cls.__doc__ = text
    return cls


class Options(TypedDict, total=False):
    """What every id takes by keyword; `_ARGUMENTS` documents the defaults, which `SuiteEnv` holds."""

    observation: ObservationPreset
    reward: RewardPreset
    horizon: int | None
    start_steps: int
    seed: int | None
    render_mode: str | None
    isolated: Isolated
    fit_only: bool


@dataclass(frozen=True, slots=True)
class Others:
    """Who drives beside the ego: the background policy, and who attacks when."""

    traffic: str = "log"
    adversary: Adversary | None = None
    scheduler: Scheduler | None = None
    buffer: EgoBuffer | None = None


class SuiteEnv(AttackingEnv):
    """Opens data and engine; subclasses say who attacks and when."""

    def __init__(
        self,
        data: Data,
        split: str | None,
        others: Others,
        *,
        observation: ObservationPreset = "cat",
        reward: RewardPreset = "cat",
        horizon: int | None = None,
        start_steps: int = 0,
        seed: int | None = None,
        render_mode: str | None = None,
        isolated: Isolated = "auto",
        fit_only: bool = False,
    ) -> None:
        source, self.left_out = open_scenes(data, split, fit_only)
        options = EngineConfig(horizon=horizon, observation=observation, reward=reward, traffic=others.traffic)
        super().__init__(
            make_core(source, options, isolated=isolated),
            source,
            adversary=others.adversary,
            scheduler=others.scheduler,
            buffer=others.buffer,
            start_steps=start_steps,
            seed=seed,
            render_mode=render_mode,
        )


@documented
class LogReplayEnv(SuiteEnv):
    """Gymnasium environment.

    ## Description
    `Gauntlet/LogReplay-v0`: the ego drives through recorded traffic that follows its log, at 10 Hz. Nobody attacks.

    {spaces}

    ## Arguments
    `gymnasium.make("Gauntlet/LogReplay-v0", data="procedural", split="train")`

    {arguments}
    `reset(options=...)` knows `scenario` (index or id) and `start`, a step of the log.

    ## Version History
    - v0: first release.
    """

    def __init__(
        self,
        data: Data = "procedural",
        split: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Open data and engine (arguments: see the class)."""
        super().__init__(data, split, Others(), **options)


@documented
class ReactiveEnv(SuiteEnv):
    """Gymnasium environment.

    ## Description
    `Gauntlet/Reactive-v0`: like `Gauntlet/LogReplay-v0`, but the background reacts: other vehicles follow their
    logged paths with IDM speed control (or what `traffic` names) and brake for the ego.

    {spaces}

    ## Arguments
    `gymnasium.make("Gauntlet/Reactive-v0", traffic="idm-path")`

    {arguments}
    - `traffic` (default `"idm-path"`): the background policy: a registry name, or `smart:FILE` for learned traffic.

    `reset(options=...)` knows `scenario` (index or id) and `start`, a step of the log.

    ## Version History
    - v0: first release.
    """

    def __init__(
        self,
        data: Data = "procedural",
        split: str | None = None,
        *,
        traffic: str = "idm-path",
        **options: Unpack[Options],
    ) -> None:
        """Open data and engine (arguments: see the class)."""
        super().__init__(data, split, Others(traffic), **options)


@documented
class AdversaryEnv(SuiteEnv):
    """Gymnasium environment.

    ## Description
    `Gauntlet/Adversary-v0`: one vehicle attacks the ego in every episode, always with the same adversary and
    intensity. The attack is planned anew before each episode, against the ego's recent trajectories in that scene
    (before the first: its log). Everybody else follows the log.

    {spaces}

    ## Arguments
    `gymnasium.make("Gauntlet/Adversary-v0", adversary="cat", intensity=1.0)`

    {arguments}
    - `adversary` (default `"cat"`): `"NAME[:FILE][?key=value&…][@λ]"`, `"module:Class"`, or an `Adversary`.
    - `adversary_options` (default None): its own options.
    - `intensity` (default 1.0): 0 natural … 1 vicious.
    - `probability` (default 1.0): of an attack, per episode.
    - `buffer_size` (default 5): ego trajectories remembered per scene.
    - `traffic` (default `"log"`): registry name of the background policy.

    `reset(options=...)` knows `scenario` (index or id), `start`, `attack` (bool) and `intensity`. Scenes that
    cannot be attacked are played as recorded; `info["attack_error"]` says why.

    ## Version History
    - v0: first release.
    """

    def __init__(
        self,
        data: Data = "procedural",
        split: str | None = None,
        *,
        adversary: str | Adversary = "cat",
        adversary_options: dict[str, object] | None = None,
        intensity: float = 1.0,
        probability: float = 1.0,
        buffer_size: int = 5,
        traffic: str = "log",
        **options: Unpack[Options],
    ) -> None:
        """Open data, engine and adversary (arguments: see the class)."""
        attacker, own = make_adversary(adversary, adversary_options)
        schedule = FixedSchedule(probability, intensity if own is None else own)
        super().__init__(data, split, Others(traffic, attacker, schedule, EgoBuffer(buffer_size)), **options)


@documented
class CurriculumEnv(SuiteEnv):
    """Gymnasium environment.

    ## Description
    `Gauntlet/Curriculum-v0`: like `Gauntlet/Adversary-v0`, but a curriculum decides before each episode whether it
    is attacked and how hard, from the share of `total_steps` spent and from how recent episodes went.

    A seed decides what is drawn; it does not set the curriculum back. Steps count over all resets, and episodes that a
    time limit (`max_episode_steps`) cuts off count as far as they were driven. `env.unwrapped.restart()` starts over,
    `set_progress(0.4)` goes on at 40 % of the budget, `state_dict()` and `load_state_dict()` take everything along
    (in vectorised environments: `env_method("set_progress", 0.4)` or `call("set_progress", 0.4)`).

    {spaces}

    ## Arguments
    `gymnasium.make("Gauntlet/Curriculum-v0", curriculum="dual_axis", total_steps=1_000_000)`

    {arguments}
    - `curriculum` (default `"dual_axis"`): `"NAME[?key=value&…]"` or `"module:Class"`; `curriculum_options`
      (default None).
    - `total_steps` (default 1,000,000): budget of this environment, steps. Give each of n parallel environments
      its share, 1/n of the whole.
    - `adversary` (default `"cat"`), `adversary_options` (default None), `buffer_size` (default 5),
      `traffic` (default `"log"`): as in `Gauntlet/Adversary-v0`.

    `reset(options=...)` knows `scenario` (index or id), `start`, `attack` (bool) and `intensity`.

    ## Version History
    - v0: first release.
    """

    def __init__(
        self,
        data: Data = "procedural",
        split: str | None = None,
        *,
        curriculum: str = "dual_axis",
        curriculum_options: dict[str, Any] | None = None,
        total_steps: int = 1_000_000,
        adversary: str | Adversary = "cat",
        adversary_options: dict[str, Any] | None = None,
        buffer_size: int = 5,
        traffic: str = "log",
        **options: Unpack[Options],
    ) -> None:
        """Open data, engine, adversary and curriculum (arguments: see the class)."""
        schedule = CurriculumSchedule(build("curriculum", with_options(curriculum, curriculum_options)), total_steps)
        attacker, own = make_adversary(adversary, adversary_options)
        if own is not None:
            raise ConfigError(f"adversary {adversary!r}: the curriculum sets the intensity. Leave out what follows @.")
        super().__init__(data, split, Others(traffic, attacker, schedule, EgoBuffer(buffer_size)), **options)
