"""From a specification to traffic: the background of an environment, or whole scenes.

Every registered name serves as both. A class that is a `TrafficPolicy` moves the background step by step; where whole
scenes are asked for, it is rolled out, or its attribute `simulator` (a class with the same options) does that faster.
A class that is a `SceneSimulator` alone moves whole scenes only.
"""

from __future__ import annotations

import warnings
from typing import Final

from harness import registry, specs
from harness.errors import ConfigError
from harness.interfaces import TrafficPolicy
from harness.traffic.observers import Observer, check_observer
from harness.traffic.rollouts import PolicySimulator, SceneSimulator
from scenarios.scenario import FUTURE_STEPS

OLD_NAME: Final = "idm"
"""Was two drivers; goes with 0.3.0."""


def make_traffic(spec: str, observer: Observer = "ego") -> TrafficPolicy:
    """Build the policy that moves the background.

    Args:
        spec: `NAME[:FILE][?key=value&…]`, as in `idm-path` or `smart:FILE?temperature=0.8&top_k=20`, or `module:Class`.
            See `harness.specs`.
        observer: Around whom it is used.

    Raises:
        UnknownNameError: No such name.
        ConfigError: It cannot be imported or built, takes no file, has no such option, moves only whole scenes, or was
            trained around another observer.
        WeightsError: The file cannot be used.
    """
    made = specs.build("traffic", present_name(spec, "idm-path"))
    if not isinstance(made, TrafficPolicy):
        raise ConfigError(
            f"traffic {spec!r}: {type(made).__name__} has no `reset` and `step`, so it cannot move the background of "
            "an environment step by step. See TrafficPolicy in harness.interfaces."
        )
    trained = getattr(made, "trained_observer", None)
    check_observer(trained, observer, f"traffic {spec!r}", "write elsewhere=true among its options")
    return made


def make_background(spec: str) -> TrafficPolicy | None:
    """As `make_traffic`; None for the log, which an engine follows by itself."""
    return None if spec == "log" else make_traffic(spec)


def make_simulator(spec: str, *, parity: bool = False) -> SceneSimulator:
    """Build what simulates whole scenes.

    Args:
        spec: See `make_traffic`; the class may be a `TrafficPolicy` or a `SceneSimulator`.
        parity: Whether the log replays invalid rows as recorded, as the official baseline does.

    Raises:
        UnknownNameError: No such name.
        ConfigError: It cannot be imported or built, takes no file, has no such option, or moves no traffic.
        WeightsError: The file cannot be used.
    """
    parsed = present_name(spec, "idm-lane")
    target = specs.resolve("traffic", parsed)
    made = specs.construct("traffic", parsed, getattr(target, "simulator", target), as_recorded=parity)
    if isinstance(made, SceneSimulator):
        return made
    if isinstance(made, TrafficPolicy):
        return PolicySimulator(made)
    raise ConfigError(
        f"traffic {spec!r}: {type(made).__name__} is neither a TrafficPolicy (`reset` and `step`) nor a SceneSimulator "
        "(`simulate`); both have a `name`."
    )


def make_roller(spec: str, steps: int) -> SceneSimulator:
    """Build what rolls whole scenes out for any number of steps.

    Traffic that agents enter and leave does so here. So does every other model where it is not asked for the usual 8 s:
    it is rolled out step by step, and whom it lets go is gone.

    Args:
        spec: See `make_traffic`.
        steps: Simulated steps.

    Raises:
        ConfigError: As of `make_simulator`; or a class that moves whole scenes only is asked for another length.
    """
    parsed = present_name(spec, "idm-lane")
    if steps == FUTURE_STEPS and not hasattr(specs.resolve("traffic", parsed), "spawned"):
        return make_simulator(parsed.text)
    return PolicySimulator(make_traffic(parsed.text), steps=steps, comings=True)


def present_name(text: str, driver: str) -> specs.Spec:
    """The parts of a specification, `idm` replaced by the driver that it was in the command at hand, with a warning."""
    spec = specs.parse(text)
    if spec.name != OLD_NAME or spec.name in registry.targets("traffic"):
        return spec
    warnings.warn(
        f"traffic {text!r}: `idm` is `{driver}` here; write that. The old name, which is also another driver "
        "elsewhere, goes with 0.3.0.",
        FutureWarning,
        stacklevel=3,
    )
    return spec._replace(name=driver, text=text.replace(OLD_NAME, driver, 1))
