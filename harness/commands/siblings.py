"""Whether Gauntlet's packages are Gauntlet's own: their names are common words, and Python takes the first it finds.

`python -m harness.train_ego` in a folder that holds a package `scenarios` of somebody else would import that one, and
fail far from the cause.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("adversaries", "curricula", "ego_policies", "harness", "scenarios")
"""Top-level packages of the distribution, besides `gauntlet`."""


def check_siblings(home: Path) -> None:
    """Refuse to go on where another package of the same name comes first on the module search path.

    Args:
        home: Folder in which the asking package lies.

    Raises:
        ImportError: A package is missing, or lies elsewhere than beside the others; the message names both places.
    """
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"Gauntlet's package {name!r} is missing from {home}. Install gauntlet-drive again.")
        # A folder without `__init__.py` has no origin, and a list of places.
        found = Path(spec.origin) if spec.origin else Path(next(iter(spec.submodule_search_locations or [""])), "")
        if not found.resolve().is_relative_to((home / name).resolve()):
            raise ImportError(
                f"expected Gauntlet's package {name!r} in {home / name}, found another one: {found}. It comes first on "
                "the module search path. Run from another folder, rename it, or take its place out of PYTHONPATH."
            )
