"""What a list of scenes tells about each: size, path of the ego, opponent, split, tags, why it is unfit for attacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from scenarios.indexing.facts import UNREAD, scene_facts
from scenarios.scenario import ScenarioSource
from scenarios.selection import LeftOut
from scenarios.splits import assign
from scenarios.tagging.vocabulary import SceneTags


class SceneRow(NamedTuple):
    """One scene of a list, as text but for its tags; what is unknown is empty.

    Attributes:
        scene: Id of the scene.
        steps: Number of steps, 0.1 s each.
        recorded: How often it was recorded, such as `10 Hz`; anything else is resampled to that.
        agents: Number of agents.
        ego_path: Length of the ego's recorded path, m.
        opponent: Id of the opponent.
        split: `train`, `val` or `test`.
        left_out: Why it is unfit for attacks, or why it cannot be read.
        tags: What it is tagged with.
    """

    scene: str
    steps: str = ""
    recorded: str = ""
    agents: str = ""
    ego_path: str = ""
    opponent: str = ""
    split: str = ""
    left_out: str = ""
    tags: SceneTags = SceneTags()


def splits_of(source: ScenarioSource, split: str) -> Sequence[str]:
    """The split of every scene of a source, in its order.

    Args:
        source: All scenes of `split`.
        split: What was asked for; where it is `all`, the splits are looked up.
    """
    return [name or "" for name in assign(source)] if split == "all" else [split] * len(source)


def rows_of(source: ScenarioSource, splits: Sequence[str], indices: Iterable[int]) -> Iterator[SceneRow]:
    """A row per scene; scenes that cannot be read have one too.

    Args:
        source: The scenes.
        splits: The split of each scene of the source.
        indices: Which scenes, in which order.
    """
    chosen = list(indices)
    for index, facts in zip(chosen, scene_facts(source, chosen), strict=True):
        name = source.ids[index]
        if facts.error:
            yield SceneRow(name, split=splits[index], left_out=f"{UNREAD}: {facts.error}")
            continue
        yield SceneRow(
            name,
            str(facts.steps),
            facts.rate,
            str(facts.agents),
            f"{facts.ego_path:.1f}",
            facts.opponent or "",
            splits[index],
            facts.unfit or "",
            facts.tags,
        )


def divided(rows: Iterable[SceneRow], fit_only: bool) -> tuple[list[SceneRow], list[LeftOut]]:
    """The rows of fit scenes, and the other scenes with the reason; all rows and nothing without `fit_only`."""
    every = list(rows)
    if not fit_only:
        return every, []
    unfit = [LeftOut(row.scene, row.left_out) for row in every if row.left_out]
    return [row for row in every if not row.left_out], unfit
