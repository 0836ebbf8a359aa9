"""What makes a fit the fit it is: its settings, its scenes and the weights that it starts from.

Work that was done under one identity is never continued under another; what may differ is declared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from harness.errors import RunError
from harness.files import read_json, write_json


def fingerprint(module: nn.Module) -> str:
    """Sixteen hexadecimal digits that identify the weights of a module."""
    flat = [parameter.detach().reshape(-1).float() for parameter in module.parameters()]
    return hashlib.sha256(torch.cat(flat).cpu().numpy().tobytes()).hexdigest()[:16]


def digest(names: Iterable[str]) -> str:
    """Sixteen hexadecimal digits that identify a list of names, in its order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Identity:
    """Values by name, as far as JSON can hold them; nested ones get dotted names.

    Attributes:
        values: Everything that the result depends on.
        free: Names of values that may differ when work goes on.
    """

    values: Mapping[str, object]
    free: frozenset[str] = field(default_factory=frozenset)

    def text(self) -> str:
        """The values as JSON, for a checkpoint."""
        return json.dumps(self.values)

    def check(self, was: Mapping[str, object], file: Path) -> None:
        """Compare with the values that a file was made with.

        Args:
            was: The file's values; names that it does not know are not compared.
            file: For the message.

        Raises:
            RunError: A value differs that is not free to differ; the message names all of them.
        """
        if not isinstance(was, Mapping):
            raise RunError(f"{file} does not say with which settings it was made. Choose a new folder.")
        before, now = _flat(was), _flat(json.loads(self.text()))
        changed = sorted(
            name for name in before if name.partition(".")[0] not in self.free and before[name] != now.get(name)
        )
        if changed:
            shown = ", ".join(f"{name} was {before[name]!r} and is {now.get(name)!r}" for name in changed)
            raise RunError(f"{file} was made with other settings ({shown}). Give the same, or choose a new folder.")

    def claim(self, file: Path) -> None:
        """Write the values to a file, or compare with those that it holds already.

        Raises:
            RunError: They differ, or the file cannot be read or written.
        """
        if file.exists():
            self.check(read_json(file), file)
        else:
            write_json(file, self.values)


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested values by dotted name."""
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
