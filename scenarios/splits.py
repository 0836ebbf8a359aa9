"""Fixed, disjoint train / val / test splits of any scene source, and sources made of other sources.

In order of precedence:

1. a split file, given or found as `splits.json` in the folder: `{"train": [ids or scene ids], "val": …, "test": …}`;
2. folders that are named like splits (`scenarios.importers.layouts`);
3. procedural scenes: their ids say it (`pg-train-…`);
4. CAT's folder of WOMD scenes (`0.pkl` … ): train 0–279, val 280–299, test 300–399 without the scenes that
   SAGE skips and without five windows of drives that are in train (69 scenes);
5. anything else: by a hash of the scene id, where scenes that share a map (windows of one drive) stay together.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from harness.errors import ConfigError, ScenarioError
from harness.files import read_json, write_text
from scenarios.indexing.facts import SceneFacts, scene_facts, sketches_of, states_of
from scenarios.map_sketch import Sketch
from scenarios.same_map import map_groups
from scenarios.scenario import Scenario, ScenarioSource, SceneList
from scenarios.values import brief

SPLITS: Final = ("train", "val", "test")
SPLIT_FILE: Final = "splits.json"
CAT_SCENE_0: Final = "9410e72c551f0aec"
"""WOMD id of CAT's `0.pkl`: tells CAT's folder from other folders of numbered files."""
_PROCEDURAL: Final = re.compile(r"(?:^|_)pg-(train|val|test)-")


@dataclass(frozen=True, slots=True)
class Ratios:
    """Shares of the hash split; they need not sum to one."""

    train: float = 0.7
    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        """Reject negative or all-zero shares."""
        if min(self.train, self.val, self.test) < 0 or self.train + self.val + self.test <= 0:
            raise ConfigError(f"split ratios {self}: expected shares >= 0, not all zero.")


class Subset(SceneList):
    """Some scenes of a source, renumbered; a `ScenarioSource`."""

    def __init__(self, source: ScenarioSource, indices: Sequence[int]) -> None:
        """Keep `indices` of `source`, in that order.

        Raises:
            ConfigError: An index is out of range.
        """
        bad = [index for index in indices if not 0 <= index < len(source)]
        if bad:
            raise ConfigError(f"scene index {bad[0]} is out of range: the source has {len(source)} scenes.")
        self.source, self.indices = source, tuple(int(index) for index in indices)
        names = source.ids
        self._ids = tuple(names[index] for index in self.indices)

    def facts(self, indices: Sequence[int]) -> Iterator[SceneFacts]:
        """What is known of some scenes, in their order."""
        return scene_facts(self.source, [self.indices[index] for index in indices])

    def sketches(self, indices: Sequence[int]) -> Iterator[Sketch]:
        """The maps of some scenes, in their order."""
        return sketches_of(self.source, [self.indices[index] for index in indices])

    def states(self, indices: Sequence[int]) -> Iterator[str]:
        """Texts that change whenever the files of some scenes do, in their order."""
        return states_of(self.source, [self.indices[index] for index in indices])

    def _load(self, index: int) -> Scenario:
        return self.source[self.indices[index]]


class SplitPart(Subset):
    """The scenes of one split of a source.

    Attributes:
        split: Its name.
    """

    def __init__(self, source: ScenarioSource, indices: Sequence[int], split: str) -> None:
        """Keep `indices` of `source`, which are those of `split`."""
        super().__init__(source, indices)
        self.split = split


class Concat(SceneList):
    """Several sources one after the other; a `ScenarioSource`. Ids must be unique across them."""

    def __init__(self, sources: Sequence[ScenarioSource]) -> None:
        """Chain `sources`.

        Raises:
            ConfigError: Two sources have a scene of the same id.
        """
        self.sources = tuple(sources)
        self._ids = tuple(name for source in self.sources for name in source.ids)
        if len(set(self._ids)) != len(self._ids):
            seen: set[str] = set()
            twice = next(name for name in self._ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise ConfigError(f"scene {twice!r} is in two of the joined sources; leave one of them out.")
        self._ends = list(np.cumsum([len(source) for source in self.sources], dtype=int))

    def facts(self, indices: Sequence[int]) -> Iterator[SceneFacts]:
        """What is known of some scenes, in their order."""
        for source, own in self._runs(indices):
            yield from scene_facts(source, own)

    def sketches(self, indices: Sequence[int]) -> Iterator[Sketch]:
        """The maps of some scenes, in their order."""
        for source, own in self._runs(indices):
            yield from sketches_of(source, own)

    def states(self, indices: Sequence[int]) -> Iterator[str]:
        """Texts that change whenever the files of some scenes do, in their order."""
        for source, own in self._runs(indices):
            yield from states_of(source, own)

    def _runs(self, indices: Sequence[int]) -> Iterator[tuple[ScenarioSource, list[int]]]:
        """Sources with indices of theirs; as many at a time as follow each other."""
        for part, run in groupby(map(self._place, indices), key=lambda place: place[0]):
            yield self.sources[part], [own for _, own in run]

    def _place(self, index: int) -> tuple[int, int]:
        """Number of the source, and index within it."""
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)

    def _load(self, index: int) -> Scenario:
        part, own = self._place(index)
        return self.sources[part][own]


def split_indices(
    source: ScenarioSource, name: str, *, split_file: str | Path | None = None, ratios: Ratios | None = None
) -> list[int]:
    """Indices of the scenes of one split, ascending.

    Args:
        source: The scenes to be split.
        name: `train`, `val`, `test` or `all`.
        split_file: JSON, see the module; `splits.json` in the source's folder if not given.
        ratios: Shares where scenes are split by hash.

    Raises:
        ConfigError: Unknown split, or it is empty.
        ScenarioError: The split file is broken.
    """
    if name == "all":
        return list(range(len(source)))
    if name not in SPLITS:
        raise ConfigError(f"unknown split {name!r}. Known: {', '.join(SPLITS)}, all.")
    chosen = assign(source, split_file=split_file, ratios=ratios)
    indices = [index for index, split in enumerate(chosen) if split == name]
    if not indices:
        raise ConfigError(
            f"split {name!r} of these {len(source)} scenes is empty. Give more scenes, other ratios, a split file "
            "or split 'all'."
        )
    return indices


def assign(
    source: ScenarioSource, *, split_file: str | Path | None = None, ratios: Ratios | None = None
) -> tuple[str | None, ...]:
    """Split of every scene of a source (None: in no split)."""
    folder = getattr(source, "folder", None)
    if split_file is None and folder is not None and (Path(folder) / SPLIT_FILE).is_file():
        split_file = Path(folder) / SPLIT_FILE
    if split_file is not None:
        return _from_file(source, Path(split_file))
    given: tuple[str | None, ...] = getattr(source, "given_splits", ())
    if any(given):
        return given
    marks = [_PROCEDURAL.search(name) for name in source.ids]
    if marks and all(marks):
        return tuple(mark.group(1) for mark in marks if mark)
    if is_cat_folder(source):
        table = cat_splits()
        return tuple(table.get(int(name)) for name in source.ids)
    return by_hash(source.ids, map_groups(source), ratios or Ratios())


def is_cat_folder(source: ScenarioSource) -> bool:
    """Whether these are CAT's numbered WOMD scenes (or some of them, `0.pkl` included)."""
    names = source.ids
    if "0" not in names or not all(name.isdecimal() and name.isascii() for name in names):
        return False
    (first,) = scene_facts(source, [names.index("0")])
    return first.scene_id == CAT_SCENE_0


@cache
def cat_splits() -> Mapping[int, str]:
    """Split by number in CAT's folder; numbers in no split are missing."""
    text = resources.files("scenarios").joinpath("cat_folder_split.json").read_text(encoding="utf-8")
    data = json.loads(text)
    table = {number: split for split in SPLITS for number in range(*data[split])}
    for number in (*data["same_drive_as_train"], *data["sage_skip"]["ids"]):
        # Training may use every scene; only the numbers that are reported follow SAGE.
        if table.get(number) == "test":
            del table[number]
    return table


def by_hash(names: Sequence[str], groups: Sequence[int], ratios: Ratios) -> tuple[str, ...]:
    """Split of each scene: groups are ordered by a hash of their smallest name and cut at the ratios.

    Every split with a positive share gets at least one group if there are enough. The order of the files
    does not matter, but adding files may move others: freeze a split with a split file.
    """
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    keys = {group: min(names[index] for index in indices) for group, indices in members.items()}
    order = sorted(members, key=lambda group: hashlib.sha256(keys[group].encode()).digest())
    shares = np.array([ratios.test, ratios.val, ratios.train]) / (ratios.train + ratios.val + ratios.test)
    counts = np.round(shares * len(order)).astype(int)
    counts = np.where((shares > 0) & (counts == 0), 1, counts)
    counts[2] = max(len(order) - counts[0] - counts[1], 0)
    limits = np.cumsum(counts).tolist()
    result = [""] * len(names)
    for rank, group in enumerate(order):
        split = ("test", "val", "train")[min(bisect.bisect_right(limits, rank), 2)]
        for index in members[group]:
            result[index] = split
    return tuple(result)


def some_held_out(names: Sequence[str], groups: Sequence[int], count: int) -> dict[str, str]:
    """Split of each scene by name: `test` for so many, `train` for the others; groups stay together.

    Groups come in the order of `by_hash`; one that would make it too many is passed over.

    Raises:
        ConfigError: There are not more scenes than that, or the groups do not add up to it.
    """
    members: dict[int, list[str]] = {}
    for name, group in zip(names, groups, strict=True):
        members.setdefault(group, []).append(name)
    held_out: set[str] = set()
    for own in sorted(members.values(), key=lambda own: hashlib.sha256(min(own).encode()).digest()):
        if len(held_out) + len(own) <= count:
            held_out.update(own)
    if len(held_out) != count or count == len(names):
        raise ConfigError(
            f"{count} of {len(names)} scenes cannot be held out: those that share a map stay together, and that gives "
            f"{len(held_out)}. Choose another number."
        )
    return {name: "test" if name in held_out else "train" for name in names}


def write_splits(splits: Mapping[str, str | None], path: Path) -> None:
    """Write a split file; scenes of split None are in no split.

    Raises:
        RunError: It cannot be written.
    """
    table = {split: [name for name, own in splits.items() if own == split] for split in SPLITS}
    write_text(path, json.dumps(table, indent=1) + "\n")


def write_split_file(source: ScenarioSource, path: str | Path, ratios: Ratios | None = None) -> None:
    """Freeze the split of a source in a file.

    Raises:
        RunError: It cannot be written.
    """
    chosen = assign(source, ratios=ratios)
    write_splits(dict(zip(source.ids, chosen, strict=True)), Path(path))


def _from_file(source: ScenarioSource, path: Path) -> tuple[str | None, ...]:
    table = _read_split_file(path)
    wanted = {name: split for split, names in table.items() for name in names}
    result = [wanted.pop(name, None) for name in source.ids]
    if wanted:
        # What is left over may be ids inside the files.
        rest = [index for index, split in enumerate(result) if split is None]
        for index, facts in zip(rest, scene_facts(source, rest), strict=True):
            result[index] = wanted.pop(facts.scene_id, None)
    if wanted:
        missing = sorted(wanted)
        raise ScenarioError(
            f"{path}: names {len(missing)} scenes that are not there, such as {missing[0]!r}. Correct the split file."
        )
    return tuple(result)


def _read_split_file(path: Path) -> dict[str, list[str]]:
    table: object = read_json(path, error=ScenarioError)
    if not isinstance(table, dict) or not all(isinstance(names, list) for names in table.values()):
        raise ScenarioError(f'{path}: expected {{"train": [ids], "val": [ids], "test": [ids]}}.')
    unknown = set(table) - set(SPLITS)
    if unknown:
        raise ScenarioError(f"{path}: unknown split {min(unknown)!r}. Known: {', '.join(SPLITS)}.")
    odd = [name for names in table.values() for name in names if type(name) not in (str, int)]
    if odd:
        raise ScenarioError(f"{path}: {brief(odd[0])} is no scene. Expected their ids, as text or whole numbers.")
    named = {split: [str(name).removesuffix(".pkl") for name in names] for split, names in table.items()}
    owner: dict[str, str] = {}
    for split, names in named.items():
        for name in names:
            if name in owner:
                where = f"twice in {split!r}" if owner[name] == split else f"in {owner[name]!r} and in {split!r}"
                raise ScenarioError(f"{path}: scene {brief(name)} is {where}. Name each scene once.")
            owner[name] = split
    return named
