"""Traffic simulators by name: what `--models` of the commands accepts."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

from harness.errors import ConfigError, UnknownNameError
from harness.specs import parse
from harness.traffic.rollouts import SceneSimulator

SIMULATORS: Final[dict[str, str]] = {
    "log": "harness.traffic.baselines:LogSimulator",
    "constant_velocity": "harness.traffic.baselines:ConstantVelocitySimulator",
    "idm": "harness.traffic.baselines:IDMSimulator",
    "smart": "harness.traffic.model.simulator:SmartSimulator",
}
"""Name → `module:Class`. A class that takes a file takes it as its first argument."""


def make_simulator(spec: str, *, parity: bool = False) -> SceneSimulator:
    """Build a simulator.

    Args:
        spec: `NAME`, `NAME:FILE`, and options behind a question mark: `smart:FILE?temperature=0.9&top_k=48`.
            Instead of a name, a literal `module:Class` (a `SceneSimulator` of one's own) may be given.
        parity: Whether the log baseline replays invalid rows as recorded, as the official baseline does.

    Raises:
        UnknownNameError: No such name.
        ConfigError: It cannot be imported or built.
    """
    parsed = parse(spec)
    head, name, file, options = parsed.head, parsed.name, parsed.file, dict(parsed.options)
    if name not in SIMULATORS and "." not in name:
        raise UnknownNameError("traffic simulator", name, SIMULATORS)
    target, arguments = (SIMULATORS[name], [file] if file else []) if name in SIMULATORS else (head, [])
    if name == "log":
        options.setdefault("as_recorded", parity)
    make = _resolve(target, spec)
    try:
        return make(*arguments, **options)
    except TypeError as error:
        raise ConfigError(f"traffic simulator {spec!r}: {error}. Check its file and options.") from error


def _resolve(target: str, spec: str) -> Callable[..., SceneSimulator]:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"traffic simulator {spec!r} points to {target!r}, which cannot be loaded: {error}"
        ) from error
