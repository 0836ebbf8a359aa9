"""How often motion tokens and words occur.

Paper: RosettaSim, section 4.1 and figure 2, which counts motion tokens of the Waymo Open Motion Dataset and words of
the Brown corpus. Python's own documentation (`pydoc_data.topics`) stands for that corpus, as every Python has it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, ScenarioError
from harness.files import MEGABYTE, read_bounded
from harness.metrics.wosac.logged import JITTER, STEP
from harness.traffic.tokens.shapes import KIND_NAMES, TOKEN_KINDS, token_kinds
from harness.traffic.tokens.tokeniser import tokenise
from harness.traffic.tokens.tracks import clean_tracks
from harness.traffic.tokens.vocabulary import Vocabulary
from scenarios.scenario import Kind, Scenario

Counts = NDArray[np.int64]

DOCUMENTATION: Final = "Python's documentation"
"""Name of the text that is always there."""
ALL_KINDS: Final = "all kinds"
"""Name of the motion tokens of all kinds together."""
MAX_TEXT: Final = 256 * MEGABYTE
"""Bytes of a text file."""
_WORD: Final = re.compile(r"[^\W\d_]+")


class TokenCounts(NamedTuple):
    """How often each motion token of each kind occurs.

    Attributes:
        counts: [3, V] numbers of tokens.
        standing: [3] the token of each kind that moves least.
        scenes: Number of scenes.
    """

    counts: Counts
    standing: Counts
    scenes: int

    def groups(self) -> dict[str, Counts]:
        """Counts [V] of each kind that occurs, with and without its token of standing still, and of all together."""
        found: dict[str, Counts] = {}
        for kind, name in enumerate(KIND_NAMES):
            counts = self.counts[kind]
            if counts.any():
                found[name] = counts
                found[f"{name}, moving"] = np.delete(counts, self.standing[kind])
        # A token of one kind is another one than that of the same number of another kind.
        return {**found, ALL_KINDS: self.counts.flatten()}


def count_motion_tokens(scenes: Iterable[Scenario], vocabulary: Vocabulary) -> TokenCounts:
    """Count the motion tokens of all vehicles, pedestrians and cyclists of scenes, ego included.

    Args:
        scenes: At 10 Hz, loaded one at a time.
        vocabulary: Motion tokens.

    Raises:
        ScenarioError: A scene has another time step than 0.1 s.
    """
    counts, number = np.zeros((TOKEN_KINDS, vocabulary.motions.shape[1]), dtype=np.int64), 0
    for scenario in scenes:
        if abs(scenario.dt - STEP) > JITTER:
            raise ScenarioError(
                f"{scenario.source or scenario.id}: steps of {scenario.dt} s; a motion token is half a second of steps "
                f"of {STEP} s. Leave the scene out, or import it anew from its source."
            )
        users = np.flatnonzero(scenario.kinds <= Kind.CYCLIST)
        kinds = token_kinds(scenario.kinds[users])
        found = tokenise(clean_tracks(scenario, users), kinds, vocabulary)
        of_kind = np.broadcast_to(kinds[:, None], found.token.shape)
        np.add.at(counts, (of_kind[found.valid], found.token[found.valid]), 1)
        number += 1
    moved = np.abs(vocabulary.ends.astype(np.float64)).sum(-1)
    return TokenCounts(counts, moved.argmin(-1), number)


def count_words(text: str) -> Counts:
    """How often each word occurs; upper and lower case are the same, digits and underscores part words."""
    return np.array(list(Counter(_WORD.findall(text.lower())).values()), dtype=np.int64)


def texts(files: Iterable[Path]) -> Mapping[str, str]:
    """Python's documentation, and text files by their names.

    Raises:
        ConfigError: A file cannot be read, or is larger than `MAX_TEXT`.
    """
    # Imported late: half a megabyte of text.
    from pydoc_data.topics import topics

    found = {DOCUMENTATION: "\n".join(topics.values())}
    for file in files:
        if file.name in found:
            raise ConfigError(f"--text {file}: another text is called {file.name}, too. Rename one.")
        found[file.name] = read_bounded(file, MAX_TEXT, ConfigError).decode(errors="replace")
    return found
