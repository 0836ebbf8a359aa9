"""From what a user writes on a command line to a policy."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from harness import registry
from harness.engine.config import SENSORS
from harness.errors import ConfigError, PolicyError, UnknownNameError, foreign
from harness.interfaces import EgoPolicy
from harness.specs import Spec, check_switches, parse, resolve

SUFFIXES: Final = {".zip": "sb3", ".safetensors": "sb3", ".pt": "torchscript", ".ts": "torchscript", ".onnx": "onnx"}
"""Which registered policy reads which file."""
CONTROLS: Final = ("action", "replay", "trajectory")
"""What a policy's `control` may be; `trajectory` is one only until the policy has been loaded."""
SENSING: Final = ("noise", "position", "heading", "velocity", "latency", "drop", "observe")
"""Options that every policy has beside its own: what stands between it and the world (`sensed`)."""
REFUSED: Final = (".pkl", ".pickle", ".pth", ".ckpt", ".joblib")
"""Files that hold pickles."""


def load_policy(spec: str, *, observation: str | None = None, name: str | None = None) -> EgoPolicy:
    """Build the policy that `spec` describes.

    Args:
        spec: One of
            a registry name (`replay`, `idm`, `rule_expert`, `ppo`, or a third party's);
            a name and a file, `td3:path/to/model.zip`; options behind a question mark (see `harness.specs`);
            a file: `*.zip` (Stable-Baselines3), `*.safetensors` (a policy file), `*.pt` (TorchScript), `*.onnx`;
            `module:Thing`, a class (built without arguments), a policy object, or a function of the observation;
            `external:COMMAND` or `external:tcp://HOST:PORT`, a program of its own. Each may have the options of
            `SENSING` behind a question mark, as in `td3:model.zip?latency=0.2`.
        observation: Observation preset that the policy expects; None keeps the policy's own (policy files
            say theirs, other files: `cat`).
        name: Label in tables; None keeps the policy's own.

    Raises:
        UnknownNameError: Neither a name, nor a file, nor `module:Thing`.
        PolicyError: The file or object is not a usable policy.
        ConfigError: The name needs a file, or takes none, or the module cannot be imported.
    """
    bare, sensing = _behind_sensors(spec)
    if not sensing:
        return _driving(_load(spec, observation=observation, name=name))
    if "observe" in sensing:
        sensing["observe"] = _function(sensing["observe"])
    policy = _load(bare, observation=observation)
    sensed = registry.resolve("policy", "sensed")(policy, **sensing)
    if name is not None:
        sensed.name = name
    return _driving(sensed)


def _behind_sensors(spec: str) -> tuple[str, dict[str, Any]]:
    """A specification without the options of sensors, and these options; a policy's own of that name stay its own."""
    head, mark, _ = spec.partition("?")
    if not mark or os.path.exists(spec):
        return spec, {}
    parsed = parse(spec)
    own: Mapping[str, inspect.Parameter] = {}
    if parsed.name in registry.targets("policy"):
        own = inspect.signature(resolve("policy", parsed)).parameters
    sensing = {key: value for key, value in parsed.options.items() if key in SENSING and key not in own}
    if not sensing:
        return spec, {}
    kept = [part for part in spec[len(head) + 1 :].split("&") if part.partition("=")[0] not in sensing]
    return head + "?" * bool(kept) + "&".join(kept), sensing


def _function(text: object) -> Any:
    """The function that an option names as `module:name`."""
    if not isinstance(text, str) or ":" not in text:
        raise ConfigError(f"observe is {text!r:.60}, expected a function of the EgoView as module:name.")
    return registry.resolve("policy", text)


def _driving(policy: EgoPolicy) -> EgoPolicy:
    """The policy itself, or a planner of trajectories behind the tracker."""
    _check_attributes(policy)
    if policy.control == "trajectory":
        return registry.resolve("policy", "tracked")(policy)
    return policy


def _load(spec: str, *, observation: str | None = None, name: str | None = None) -> EgoPolicy:
    """`load_policy` without what stands between a policy and the world."""
    options = {key: value for key, value in (("observation", observation), ("name", name)) if value is not None}
    table = registry.targets("policy")
    if re.split("[:?@]", spec, maxsplit=1)[0] in table:
        return _from_name(parse(spec), options)
    suffix = Path(spec).suffix.lower()
    if suffix in SUFFIXES:
        return registry.resolve("policy", SUFFIXES[suffix])(path=spec, **options)
    if ":" not in spec and (Path(spec).is_file() or suffix in REFUSED):
        raise PolicyError(
            f"policy file {spec}: expected one of {', '.join(SUFFIXES)}. Pickled objects are not read, because reading "
            "them runs whatever they hold: save with Stable-Baselines3 (.zip), torch.jit.save (.pt) or torch.onnx "
            "(.onnx), or name your own code as module:Class."
        )
    if ":" not in spec:
        raise UnknownNameError("policy", spec, [*table, *(f"FILE{suffix}" for suffix in SUFFIXES), "module:Class"])
    return wrap_policy(registry.resolve("policy", spec), **options)


def _from_name(spec: Spec, options: dict[str, Any]) -> EgoPolicy:
    """A registered policy, with its file where it needs one."""
    name, path = spec.name, spec.file
    if spec.text == f"{name}:" or name in ("tracked", "sensed"):
        _needs_file(name)
    target = resolve("policy", spec)
    parameters = inspect.signature(target).parameters
    given = {**options, **spec.options, **({"path": path} if path else {})}
    missing = [
        item.name
        for item in parameters.values()
        if item.default is item.empty
        and item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
        and item.name not in given
    ]
    if "path" in given and "path" not in parameters:
        usage = "write module:function instead" if "function" in missing else f"write {name}"
        raise ConfigError(f"policy {name!r} reads no file, but was given {path!r}; {usage}.")
    if missing:
        _needs_file(name, missing[0])
    unknown = set(given) - set(parameters)
    if unknown:
        raise ConfigError(f"policy {name!r} has no option {sorted(unknown)[0]!r}; it fixes its own.")
    check_switches("policy", spec, parameters)
    return target(**given)


def _needs_file(name: str, what: str = "path") -> NoReturn:
    if what == "function":
        raise ConfigError(f"policy {name!r} wraps a function of yours: write module:function.")
    if name in ("tracked", "sensed"):
        raise ConfigError(f"policy {name!r} wraps another one by itself: see docs/test_a_policy.md.")
    if name == "external":
        raise ConfigError("policy 'external' runs a program: write \"external:COMMAND\" or external:tcp://HOST:PORT.")
    raise ConfigError(f"policy {name!r} needs a file ({what}): write {name}:PATH.")


def wrap_policy(thing: Any, **options: Any) -> EgoPolicy:
    """Make an `EgoPolicy` of an object: one already, a class of one, a model with `predict`, or a callable.

    Args:
        thing: The object; classes are built without arguments.
        options: For the adapter of callables: `observation`, `name`, `privileged`.

    Raises:
        PolicyError: Nothing that can drive.
    """
    if isinstance(thing, type):
        place = f"policy class {thing.__module__}:{thing.__qualname__}"
        try:
            with foreign(f"{place} failed while it was built", PolicyError, (TypeError,)):
                thing = thing()
        except TypeError as error:
            raise PolicyError(
                f"{place} cannot be built without arguments ({error}). Point to a function or an object that is ready."
            ) from error
    if isinstance(thing, EgoPolicy):
        for key, value in options.items():
            if getattr(thing, key) != value:
                setattr(thing, key, value)
        return thing
    return registry.resolve("policy", "callable")(function=thing, **options)


def _check_attributes(policy: EgoPolicy) -> None:
    """Refuse what would be driven as something else than its author means."""
    for name, known in (("control", CONTROLS), ("observation", tuple(SENSORS))):
        found = getattr(policy, name)
        if found not in known:
            raise PolicyError(
                f"policy {type(policy).__qualname__}: {name} is {found!r:.60}, expected one of {', '.join(known)}."
            )
    if not isinstance(policy.name, str) or not policy.name:
        raise PolicyError(f"policy {type(policy).__qualname__}: name is {policy.name!r:.80}, expected a text.")
