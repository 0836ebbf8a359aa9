"""The calls of `import gauntlet`: commands as functions, with their options as keywords.

Everything but Gymnasium is imported when it is called for: importing this module should cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gymnasium

import harness.envs  # noqa: F401 - registers the ids
from gauntlet.outcome import Run

if TYPE_CHECKING:
    from harness.commands.scaffold import Session

NAMESPACE: Final = "Gauntlet/"
"""What the ids of Gauntlet's environments begin with."""
Component = str | Callable[..., object]
"""A name (`sage@0.5`, `td3:FILE`, `module:Class`), or a class or function of one's own."""


def make(id: str, **options: Any) -> gymnasium.Env[Any, Any]:  # noqa: A002 - as Gymnasium calls it
    """Make an environment, as `gymnasium.make`.

    Args:
        id: `Adversary-v0` or `Gauntlet/Adversary-v0`, for example; see `harness.envs.IDS`.
        options: Arguments of the environment.

    Raises:
        gymnasium.error.NameNotFound: There is no such environment.
        GauntletError: Arguments or data cannot be used.
    """
    return gymnasium.make(_in_namespace(id), **options)


def make_vec(id: str, num_envs: int = 1, **options: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:  # noqa: A002
    """Make many environments at once, as `gymnasium.make_vec`; `Fast-v0` is the compiled engine.

    Args:
        id: As for `make`.
        num_envs: Number of environments.
        options: Arguments of `gymnasium.make_vec` and of the environments.

    Raises:
        gymnasium.error.NameNotFound: There is no such environment.
        GauntletError: Arguments or data cannot be used.
    """
    return gymnasium.make_vec(_in_namespace(id), num_envs=num_envs, **options)


def attack(
    adversary: Component | Iterable[Component] = "sage",
    *,
    sut: Component | None = None,
    data: str = "procedural",
    split: str = "test",
    scenes: str | None = None,
    intensity: float = 1.0,
    out: str | Path | None = None,
    verbose: bool = False,
    **options: Any,
) -> Run:
    """Attack the logged ego of every scene, and a system under test where one is named; `gauntlet attack`.

    Args:
        adversary: One or several.
        sut: System under test against which the attacks are played as well.
        data: Folder of scenes, scene file, or `procedural`.
        split: `train`, `val`, `test` or `all`.
        scenes: Scenes of the split, such as `20` or `10:20`; all by default.
        intensity: λ of adversaries with a dial: 0 natural … 1 vicious.
        out: New run folder; by default one under `runs/`.
        verbose: Print what the command prints.
        options: Other fields of `harness.attacks.config.AttackConfig`.

    Raises:
        GauntletError: Unknown names, unusable data or weights, or an unwritable folder.
    """
    from gauntlet.options import configured, named, several
    from harness.attacks.config import AttackConfig
    from harness.attacks.run import run_attacks
    from harness.files import read_json

    chosen = configured(
        AttackConfig(),
        adversary=several(adversary),
        sut=None if sut is None else named(sut),
        data=data,
        split=split,
        scenes=scenes,
        intensity=intensity,
        out=out,
        **options,
    )
    folder = run_attacks(chosen, _session("attack", verbose=verbose))
    return Run(folder, tuple(read_json(folder / "summary.json")))


def benchmark(
    sut: Component | Iterable[Component] = ("replay", "idm"),
    adversary: Component | Iterable[Component] = ("rule", "cat"),
    *,
    data: str = "procedural",
    split: str = "test",
    scenes: str | None = None,
    out: str | Path | None = None,
    verbose: bool = False,
    **options: Any,
) -> Run:
    """Measure every adversary against every system under test; `gauntlet benchmark`.

    Classes and functions of the main script or of a notebook are played in this process, as no other finds them.

    Args:
        sut: One or several systems under test.
        adversary: One or several; the undisturbed scene is always there.
        data: Folder of scenes, scene file, or `procedural`.
        split: `train`, `val`, `test` or `all`.
        scenes: Scenes of the split, such as `20` or `10:20`; all by default.
        out: New run folder; by default one under `runs/`.
        verbose: Print what the command prints.
        options: Other fields of `harness.benchmarking.config.BenchmarkConfig`.

    Raises:
        GauntletError: Unknown names, unusable data or weights, or an unwritable folder.
        ConfigError: Something of the main script, and an executor other than `serial`.
    """
    from gauntlet.options import configured, of_main, several
    from harness.benchmarking.config import BenchmarkConfig
    from harness.benchmarking.run import run_benchmark
    from harness.benchmarking.summary import as_object
    from harness.errors import ConfigError

    systems, attackers = several(sut), several(adversary)
    if of_main([*systems, *attackers]) and options.setdefault("executor", "serial") != "serial":
        raise ConfigError(
            "executor: what is defined in the main script or a notebook runs in this process alone. Put it into a "
            "module of its own, or leave the executor out."
        )
    chosen = configured(
        BenchmarkConfig(),
        sut=systems,
        adversary=attackers,
        data=data,
        split=split,
        scenes=scenes,
        out=out,
        **options,
    )
    if chosen.dry_run:
        raise ConfigError("dry_run is for the command: gauntlet benchmark --dry-run prints what a run will cost.")
    done = run_benchmark(chosen, _session("benchmark", verbose=verbose))
    return Run(done.folder, tuple(as_object(cell, chosen) for cell in done.cells))


def train(
    preset: str = "best",
    *,
    adversary: Component = "sage",
    data: str = "procedural",
    out: str | Path | None = None,
    verbose: bool = True,
    **options: Any,
) -> Run:
    """Train an ego under a curriculum of attacks and evaluate it; `gauntlet train_ego`.

    Args:
        preset: `best`, `quick` or `paper`.
        adversary: Who attacks in training.
        data: Folder of scenes, or `procedural`.
        out: New run folder; by default one under `runs/`.
        verbose: Print what the command prints.
        options: Other fields of `harness.training.config.TrainConfig`; groups take mappings.

    Returns:
        The run; its policy lies in `policy.safetensors` of the folder. It has no rows where nothing was evaluated.

    Raises:
        GauntletError: Unknown names, unusable data or an unwritable folder.
        RunError: It was stopped by a signal, after a checkpoint.
    """
    from gauntlet.options import configured, named
    from harness.commands.runs import default_folder
    from harness.errors import ConfigError, RunError
    from harness.files import read_json
    from harness.training.config import PRESETS
    from harness.training.run import train as run_training

    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}.")
    folder = Path(out) if out is not None else default_folder("train_ego")
    chosen = configured(PRESETS[preset][1], adversary=named(adversary), data=data, out=folder, **options)
    if run_training(chosen, _session("train_ego", verbose=verbose)):
        raise RunError(f"run {folder} was stopped; go on with gauntlet train_ego --resume {folder}")
    results = folder / "results.json"
    return Run(folder.resolve(), tuple(read_json(results)["evaluations"]) if results.exists() else ())


def _in_namespace(name: str) -> str:
    return name if "/" in name else NAMESPACE + name


def _session(verb: str, *, verbose: bool) -> Session:
    from rich.console import Console

    from harness.commands.scaffold import Session

    return Session(verb) if verbose else Session(verb, Console(quiet=True), Console(quiet=True, stderr=True))
