"""From what a user writes on a command line to a policy."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

from harness import registry
from harness.errors import ConfigError, PolicyError, UnknownNameError
from harness.interfaces import EgoPolicy

SUFFIXES: Final = {".zip": "sb3", ".pt": "torchscript", ".ts": "torchscript", ".onnx": "onnx"}
"""Which registered policy reads which file."""


def load_policy(spec: str, *, observation: str | None = None, name: str | None = None) -> EgoPolicy:
    """Build the policy that `spec` describes.

    Args:
        spec: One of
            a registry name (`replay`, `idm`, or a third party's);
            a name and a file, `td3:path/to/model.zip`;
            a file: `*.zip` (Stable-Baselines3), `*.pt` (TorchScript), `*.onnx`;
            `module:Thing`, a class (built without arguments), a policy object, or a function of the observation.
        observation: Observation preset that the policy expects; None keeps the policy's own (files: `cat`).
        name: Label in tables; None keeps the policy's own.

    Raises:
        UnknownNameError: Neither a name, nor a file, nor `module:Thing`.
        PolicyError: The file or object is not a usable policy.
        ConfigError: The name needs a file, or the module cannot be imported.
    """
    options = {key: value for key, value in (("observation", observation), ("name", name)) if value is not None}
    table = registry.targets("policy")
    head, _, tail = spec.partition(":")
    if spec in table:
        return _from_name(spec, options)
    if head in table and tail:
        return registry.resolve("policy", head)(path=tail, **options)
    suffix = Path(spec).suffix.lower()
    if suffix in SUFFIXES:
        return registry.resolve("policy", SUFFIXES[suffix])(path=spec, **options)
    if ":" not in spec:
        raise UnknownNameError("policy", spec, [*table, *(f"FILE{suffix}" for suffix in SUFFIXES), "module:Class"])
    return wrap_policy(registry.resolve("policy", spec), **options)


def _from_name(name: str, options: dict[str, Any]) -> EgoPolicy:
    target = registry.resolve("policy", name)
    parameters = inspect.signature(target).parameters
    missing = [
        item.name
        for item in parameters.values()
        if item.default is item.empty and item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
    ]
    if missing:
        raise ConfigError(f"policy {name!r} needs a file ({missing[0]}): write {name}:PATH.")
    unknown = set(options) - set(parameters)
    if unknown:
        raise ConfigError(f"policy {name!r} has no option {sorted(unknown)[0]!r}; it fixes its own.")
    return target(**options)


def wrap_policy(thing: Any, **options: Any) -> EgoPolicy:
    """Make an `EgoPolicy` of an object: one already, a class of one, a model with `predict`, or a callable.

    Args:
        thing: The object; classes are built without arguments.
        options: For the adapter of callables: `observation`, `name`, `privileged`.

    Raises:
        PolicyError: Nothing that can drive.
    """
    if isinstance(thing, type):
        try:
            thing = thing()
        except TypeError as error:
            raise PolicyError(
                f"policy class {thing.__module__}:{thing.__qualname__} cannot be built without arguments ({error}). "
                "Point to a function or an object that is ready."
            ) from error
    if isinstance(thing, EgoPolicy):
        for key, value in options.items():
            if getattr(thing, key) != value:
                setattr(thing, key, value)
        return thing
    return registry.resolve("policy", "callable")(function=thing, **options)
