"""Which MetaDrive the fast engine repeats: another one may drive, sense or judge differently without a word."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from harness import specs
from harness.errors import ConfigError

METADRIVE: Final = "0.4.3"
"""The version whose vehicle, contacts, rays, traffic rules and endings the kernels were written from."""
REMEASURE: Final = "python -m harness.perf --fast-sample 200"
"""Plays the same sequences in both engines and says how far they agree."""
PACKAGES: Final = ("metadrive-simulator", "panda3d")
"""What decides how a scene is simulated."""
LOGGED: Final = "log"
FAST_TRAFFIC: Final = (LOGGED, "idm-lane")
"""The traffic that the fast engine plays."""

_MEASURING: ContextVar[bool] = ContextVar("measuring", default=False)


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Let any version pass, for whoever measures how far the engines agree."""
    token = _MEASURING.set(True)
    try:
        yield
    finally:
        _MEASURING.reset(token)


def check_metadrive() -> None:
    """Refuse a MetaDrive that the fast engine was not made for.

    Raises:
        ConfigError: Another version is installed, or none.
    """
    found = installed()[0]
    if found != METADRIVE and not _MEASURING.get():
        raise ConfigError(
            f"the fast engine was made for MetaDrive {METADRIVE}, but {found or 'none'} is installed. Install that "
            f"version, or use the MetaDrive engine; how far the two engines agree says: {REMEASURE}"
        )


def check_traffic(traffic: str) -> None:
    """Refuse traffic that the fast engine does not play, such as learned traffic.

    Args:
        traffic: `NAME[?key=value&…]`, as of `EngineConfig.traffic`.

    Raises:
        ConfigError: Another one than `FAST_TRAFFIC`.
    """
    if specs.parse(traffic).name not in FAST_TRAFFIC:
        raise ConfigError(
            f"traffic {traffic!r}: the fast engine plays {' and '.join(FAST_TRAFFIC)}. Use one of them, or the "
            "MetaDrive engine."
        )


def installed() -> tuple[str, ...]:
    """Versions of `PACKAGES`, empty where one is missing."""
    return tuple(map(_version, PACKAGES))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
