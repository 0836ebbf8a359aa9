"""The `scenariogeneration` library, which is optional: it is asked for only where something is exported."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from harness.errors import ConfigError


class Library(NamedTuple):
    """The two halves of `scenariogeneration`, which carries no types: what crosses this border is Any."""

    xosc: Any
    xodr: Any


def library() -> Library:
    """Import `scenariogeneration`.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return Library(
            importlib.import_module("scenariogeneration.xosc"), importlib.import_module("scenariogeneration.xodr")
        )
    except ImportError as error:
        raise ConfigError(
            f"OpenSCENARIO export needs the scenariogeneration library ({error}). "
            "Install it: pip install 'gauntlet-drive[openscenario]'."
        ) from error
