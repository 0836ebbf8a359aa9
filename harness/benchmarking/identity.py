"""Who took part, beyond their names: check sums of weights, and the options that traffic was made with."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import ConfigError
from harness.registry import targets
from harness.traffic.make import make_traffic, present_name

NO_MATTER: Final = ("device",)
"""Options that do not change how traffic drives."""
OURS: Final = "harness."
"""What modules of this package begin with: their version says which code they are."""


def joint_digest(parts: Iterable[str]) -> str:
    """SHA-256 of several lines of text, such as digests of files."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        if path.is_dir():
            return joint_digest(f"{item.name} {digest_of(item)}" for item in sorted(path.iterdir()) if item.is_file())
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}. Give an existing file.") from error


@dataclass(frozen=True, slots=True)
class TrafficIdentity:
    """What must be equal for two kinds of traffic to be the same.

    Attributes:
        name: Registered name, or `module:Class`.
        options: `key=value`, sorted; `device` is left out, and of a file its digest stands there.
        digest: SHA-256 of its weights, or else of the file that a class of the user's own stands in; empty for the
            drivers of this package that have no weights.
    """

    name: str
    options: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        """Reject a digest that is none.

        Raises:
            ConfigError: It is neither empty nor 64 hexadecimal digits.
        """
        if self.digest and (len(self.digest) != 64 or set(self.digest) - set("0123456789abcdef")):
            raise ConfigError("a digest of traffic has 64 hexadecimal digits, or is empty.")

    @property
    def label(self) -> str:
        """Name with options, for tables; where its weights lie is left out."""
        return self.name + ("?" + "&".join(self.options) if self.options else "")

    def unlike(self, other: TrafficIdentity) -> str:
        """In what another one differs, in words that name both, `other` second; empty where it is the same."""
        if self.name != other.name:
            return f"name {self.name}, not {other.name}"
        if self.options != other.options:
            return f"options {'&'.join(self.options) or 'none'}, not {'&'.join(other.options) or 'none'}"
        if self.digest != other.digest:
            return f"weights {self.digest[:12] or 'none'}…, not {other.digest[:12] or 'none'}…"
        return ""


def identify(spec: str) -> TrafficIdentity:
    """Identify the traffic that a specification names, such as `smart:FILE?temperature=0.9`.

    Args:
        spec: See `harness.traffic.make.make_traffic`; the traffic is built.

    Raises:
        GauntletError: As of `make_traffic`; or its weights cannot be read.
    """
    parsed = present_name(spec, "idm-path")
    made = make_traffic(spec)
    registered = parsed.name in targets("traffic")
    options = sorted(f"{key}={_told(value)}" for key, value in parsed.options.items() if key not in NO_MATTER)
    file = parsed.file if registered and parsed.file else str(getattr(made, "path", ""))
    if not file and not type(made).__module__.startswith(OURS):
        file = inspect.getsourcefile(type(made)) or ""
    digest = digest_of(Path(file)) if file else ""
    return TrafficIdentity(parsed.name if registered else parsed.head, tuple(options), digest)


def _told(value: object) -> str:
    """An option's value; of a file its content counts, not where it lies."""
    file = Path(value) if isinstance(value, str) else None
    return digest_of(file) if file is not None and file.is_file() else str(value)
