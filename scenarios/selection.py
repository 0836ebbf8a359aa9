"""Which scenes of a folder a user means: a split, or numbers and ranges."""

from __future__ import annotations

from harness.errors import ConfigError
from scenarios.scenario import ScenarioSource
from scenarios.splits import Subset


def indices_of(text: str, count: int) -> list[int] | None:
    """Scene indices of `0:100,120,130:140`, or None where `text` is a name.

    Raises:
        ConfigError: An index beyond the `count` scenes there are, or an empty range.
    """
    if not text or not set(text) <= set("0123456789:, "):
        return None
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, colon, last = part.partition(":")
        if not first or (colon and not last):
            raise ConfigError(f"scenes {text!r}: {part!r} is neither an index nor a range such as 0:280.")
        found += range(int(first), int(last)) if colon else [int(first)]
    if not found or max(found) >= count:
        raise ConfigError(f"scenes {text!r}: expected indices below {count} (the number of scenes), at least one.")
    return found


def open_part(data: str, text: str) -> ScenarioSource:
    """The scenes that an option names.

    Raises:
        ConfigError: Unknown split or index.
    """
    from scenarios import open_source

    if not set(text) <= set("0123456789:, "):
        return open_source(data, split=text)
    source = open_source(data)
    indices = indices_of(text, len(source))
    if indices is None:
        raise ConfigError("scenes: expected a split name or indices, found nothing.")
    return Subset(source, indices)
