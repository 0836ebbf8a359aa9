"""Which scenes of a folder a user means: a split of it, and a selection within the split."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Final, Literal, NamedTuple

import numpy as np

from harness.errors import ConfigError, ScenarioError
from scenarios.indexing.facts import UNREAD, Known, scene_facts, unfit_reasons
from scenarios.opponents import OpponentKind
from scenarios.other_opponents import WithOpponents
from scenarios.resampling import resampling_note
from scenarios.scenario import ScenarioSource
from scenarios.sources import DEFAULT_COUNTS, DEFAULT_VAL, PROCEDURAL, open_source
from scenarios.splits import SPLITS, SplitPart, Subset
from scenarios.store import CACHE_SCENES
from scenarios.tagging.vocabulary import ALL_VALUES, tag_pairs
from scenarios.where import Where

EDGELESS: Final = "no road edges"
"""Why a scene is left out where leaving the road is judged."""
LONG: Final = 200
"""Characters of an unknown id that are compared with those that there are: no id is longer."""
COMPARED: Final = 2000
"""So many ids are compared with an unknown one: it takes milliseconds."""
EXAMPLES = "`20` (the first 20), `10:20` (a range), `#3` (one), a scene's id, or several of these with commas"


def selected(text: str, ids: Sequence[str]) -> list[int]:
    """Indices of the scenes that a selection names, in its order.

    Args:
        text: A number n (the first n scenes, even where scenes have numbers for ids), or items with commas between:
            `A:B` (from A up to, not including, B; `A:` to the end), `#N` (one index), or an id.
        ids: Names of the scenes there are.

    Raises:
        ConfigError: An index beyond the scenes, an empty range, an unknown id, or an item that is none of these.
    """
    if _is_number(text.strip()) and int(text) > 0:
        return list(range(min(int(text), len(ids))))
    places = {name: index for index, name in enumerate(ids)}
    if text in places:
        return [places[text]]
    return [index for item in text.split(",") for index in _item(item.strip(), text, places)]


def _item(item: str, text: str, ids: Mapping[str, int]) -> list[int]:
    if item in ids:
        return [ids[item]]
    if item.startswith("#") and _is_number(item[1:]):
        found = range(int(item[1:]), int(item[1:]) + 1)
    elif ":" in item and all(_is_number(part) or not part for part in item.split(":", 1)):
        first, _, last = item.partition(":")
        found = range(int(first or 0), int(last or len(ids)))
    else:
        hint = f" Write #{item} for one scene." if item.isdecimal() else ""
        if near := difflib.get_close_matches(item[:LONG], islice(ids, COMPARED), n=1):
            hint += f" Did you mean {near[0]!r}?"
        raise ConfigError(f"scenes {text!r}: no scene {item!r} among {len(ids)}.{hint} Expected {EXAMPLES}.")
    if not found or found[-1] >= len(ids):
        raise ConfigError(f"scenes {text!r}: {item!r} names no scene, or one beyond the {len(ids)} there are.")
    return list(found)


def needed(split: str | None, scenes: str) -> dict[str, int]:
    """How many procedural scenes of each split a selection needs; nothing where it needs the usual number.

    Args:
        split: See `open_scenes`.
        scenes: See `selected`.
    """
    whole = split is None or split == "all"
    usual = DEFAULT_COUNTS | ({"val": DEFAULT_VAL} if split == "val" else {})
    names = sorted(SPLITS) if whole else [name for name in SPLITS if name == split]  # The order of scenes.
    try:
        # What names a scene by its id, none, or one beyond the usual number is judged once the scenes are there.
        chosen = selected(scenes, [f"\0{number}" for number in range(sum(usual[name] for name in names))])
    except ConfigError:
        return {}
    rest = int(scenes) if _is_number(scenes.strip()) and not whole else max(chosen) + 1
    counts = dict.fromkeys(SPLITS, 0)
    for name in names:
        counts[name] = min(rest, usual[name]) if whole else rest
        rest -= counts[name]
    return counts


def _is_number(text: str) -> bool:
    """Whether a text is a whole number that scenes could have."""
    return text.isdecimal() and len(text) < 19


def open_scenes(
    data: str,
    split: str | None = None,
    scenes: str | None = None,
    *,
    cache_scenes: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    fit_only: bool = False,
    where: str | None = None,
    unread: bool = False,
    opponent: OpponentKind = "vehicle",
) -> ScenarioSource:
    """The scenes that `--data`, `--split`, `--where`, `--scenes` and `--fit-only` name, and that can be read.

    Args:
        data: See `open_source`.
        split: `train`, `val`, `test`; None or `all` for every scene.
        scenes: See `selected`; None for all of the split that meet `where`.
        cache_scenes: Scenes kept in memory; by default `scenarios.store.CACHE_SCENES`.
        on_error: What to do where a scene cannot be read after all: raise, or leave it out when the folder is opened.
        fit_only: Leave out those of the selection that are unfit for attacks (`fit_scenes`).
        where: A condition on tags (`scenarios.where`), or None.
        unread: Keep those that cannot be read (`readable_scenes`), for whoever looks scenes up by their ids.
        opponent: Who attacks (`opponents.select_opponent`); what is fit depends on it.

    Raises:
        ConfigError: Unknown or empty split, a condition that cannot be read or that no scene meets, or a selection that
            names no scene, or none that is fit.
        ScenarioError: The data, or every scene of the selection, cannot be read.
    """
    kept = CACHE_SCENES if cache_scenes is None else cache_scenes
    condition = None if where is None else Where.parse(where)
    # Of procedural scenes, no more are generated than are asked for.
    counts = needed(split, scenes) if data == PROCEDURAL and scenes is not None and condition is None else {}
    train, val, test = (counts.get(name) for name in SPLITS)
    source = open_source(data, split, cache_scenes=kept, on_error=on_error, train=train, val=val, test=test)
    # Tags tell of the opponent, too. Without a condition only the scenes that are chosen get another one.
    if condition is not None:
        source = matching_scenes(source if opponent == "vehicle" else WithOpponents(source, opponent), condition, data)
    if scenes is not None:
        chosen = selected(scenes, source.ids)
        source = source if chosen == list(range(len(source))) else Subset(source, chosen)
    if condition is None and opponent != "vehicle":
        source = WithOpponents(source, opponent)
    if fit_only:
        return fit_scenes(source, data)
    return source if unread else readable_scenes(source)


class MatchingScenes(Subset):
    """The scenes of a source that meet a condition; a `ScenarioSource`.

    Attributes:
        where: The condition as it was written.
    """

    def __init__(self, source: ScenarioSource, indices: Sequence[int], where: str) -> None:
        """Keep `indices` of `source`."""
        super().__init__(source, indices)
        self.where = where


def matching_scenes(source: ScenarioSource, where: Where, name: str = "the source") -> MatchingScenes:
    """The scenes of a source whose tags meet a condition; what cannot be read meets none.

    Args:
        source: All scenes.
        where: The condition.
        name: What the source is called in messages.

    Raises:
        ConfigError: None does.
    """
    tags = [None if facts.error else facts.tags for facts in scene_facts(source)]
    met = [index for index, own in enumerate(tags) if own is not None and where.holds(own)]
    if not met:
        there = Counter(pair for own in tags if own is not None for pair in tag_pairs(own))
        said = ", ".join(f"{tag}={value} ({there[tag, value]})" for tag, value in ALL_VALUES if there[tag, value])
        raise ConfigError(
            f"--where {where.text!r} leaves none of the {len(tags)} scenes of {name}. Their tags: {said or 'none'}."
        )
    return MatchingScenes(source, met, where.text)


def matching_line(sources: Iterable[object]) -> str:
    """How many scenes of how many meet the condition of the sources, in one line; empty without one."""
    found: dict[tuple[str, int, int], None] = {}
    waiting = list(sources)
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, MatchingScenes):
            found[item.where, len(item), len(item.source)] = None
        inner = (getattr(item, "source", None), *getattr(item, "sources", ()))
        waiting += [one for one in inner if one is not None]
    return ", ".join(f"--where {text!r}: {own} of {total} scenes" for text, own, total in found)


class LeftOut(NamedTuple):
    """A scene that was left out, and why."""

    scene: str
    reason: str


class FitScenes(Subset):
    """The scenes of a source that are fit for attacks, or at least for use; a `ScenarioSource`.

    Attributes:
        left_out: The others, in order.
    """

    def __init__(self, source: ScenarioSource, indices: Sequence[int], left_out: Sequence[LeftOut]) -> None:
        """Keep `indices` of `source`."""
        super().__init__(source, indices)
        self.left_out = tuple(left_out)


def fit_scenes(source: ScenarioSource, name: str = "the source") -> FitScenes:
    """The scenes of a source that `scenarios.filters.reject_reason` accepts: the one meaning of `--fit-only`.

    Args:
        source: All scenes; what cannot be read is unfit as well.
        name: What the source is called in messages.

    Raises:
        ConfigError: None is fit.
    """
    reasons = unfit_reasons(source)
    fit = [index for index, reason in enumerate(reasons) if reason is None]
    unfit = [LeftOut(source.ids[index], reason) for index, reason in enumerate(reasons) if reason is not None]
    if unfit and not fit:
        raise ConfigError(
            f"--fit-only leaves none of the {len(unfit)} scenes of {name}; {unfit[0].scene}: {unfit[0].reason}. "
            "Choose other scenes, or leave the option out."
        )
    return FitScenes(source, fit, unfit)


def readable_scenes(source: ScenarioSource) -> ScenarioSource:
    """The scenes of a source that can be read; the source itself where all can, or where it is made in memory.

    Raises:
        ScenarioError: None can.
    """
    errors = [facts.error for facts in scene_facts(source)] if isinstance(source, Known) else []
    if not any(errors):
        return source
    if all(errors):
        raise ScenarioError(errors[0])
    kept = [index for index, error in enumerate(errors) if not error]
    bad = [LeftOut(source.ids[index], f"{UNREAD}: {error}") for index, error in enumerate(errors) if error]
    return FitScenes(source, kept, bad)


def edged_scenes(source: ScenarioSource, asker: str) -> ScenarioSource:
    """The scenes of a source whose maps say where the road ends; the source itself where all do.

    Args:
        source: All scenes; what cannot be read is kept: whoever reads it learns why.
        asker: What needs the edges, for messages.

    Raises:
        ConfigError: None has any.
    """
    lacking = [not (facts.road_edges or facts.error) for facts in scene_facts(source)]
    if not any(lacking):
        return source
    if all(lacking):
        raise ConfigError(
            f"{asker} judges by road edges, and none of the {len(lacking)} scenes has any; the first is "
            f"{source.ids[0]}. Choose other scenes."
        )
    kept = [index for index, lacks in enumerate(lacking) if not lacks]
    bad = [LeftOut(source.ids[index], f"{EDGELESS}: {asker} judges by them") for index in np.flatnonzero(lacking)]
    return FitScenes(source, kept, bad)


def left_out(source: object) -> Iterator[LeftOut]:
    """What was left out of a source, or of the sources that it is made of."""
    yield from getattr(source, "left_out", ())
    for inner in (getattr(source, "source", None), *getattr(source, "sources", ())):
        if inner is not None:
            yield from left_out(inner)


def parts(source: object) -> Iterator[SplitPart]:
    """Splits of data that also has other scenes, among a source and the sources that it is made of."""
    if isinstance(source, SplitPart):
        if len(source) < len(source.source):
            yield source
        return
    for inner in (getattr(source, "source", None), *getattr(source, "sources", ())):
        if inner is not None:
            yield from parts(inner)


def split_line(sources: Iterable[object]) -> str:
    """How many scenes of their data the splits of the sources have, in one line; empty where they have all."""
    found = list(dict.fromkeys((part.split, len(part), len(part.source)) for item in sources for part in parts(item)))
    if len(found) == 1 and found[0][0] == "test":  # What `--split` is where nothing is said.
        return "split test: {1} of {2} scenes (--split all takes all)".format(*found[0])
    return ", ".join(f"split {name}: {own} of {total} scenes" for name, own, total in found)


def reasons(unfit: Iterable[LeftOut]) -> dict[str, str]:
    """Reason by scene; a second scene of one name, from other data, gets a number: `0`, `0 (2)`."""
    found: dict[str, str] = {}
    for scene, reason in unfit:
        names = chain((scene,), (f"{scene} ({number})" for number in count(2)))
        found[next(name for name in names if found.get(name, reason) == reason)] = reason
    return found


def resampled_line(sources: Iterable[ScenarioSource]) -> str:
    """How many scenes of the sources were recorded at another rate than 10 Hz, in one line; empty if none was.

    Args:
        sources: Those that know their scenes without reading them are asked; others are made in memory.
    """
    known = [source for source in sources if isinstance(source, Known)]
    return resampling_note(facts.rate for source in known for facts in scene_facts(source))


def left_out_line(unfit: Sequence[LeftOut], total: int) -> str:
    """How many scenes of how many were left out, and how often for which reason, in one line."""
    kinds: dict[str, int] = {}
    for item in unfit:
        kind = item.reason.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    why = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
    asked = "" if set(kinds) <= {UNREAD, EDGELESS} else " as unfit (--fit-only)"
    return f"left out {len(unfit)} of {total} scenes{asked}: {why}."
