"""Scenes in which somebody else attacks: pedestrians and cyclists instead of vehicles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.errors import ConfigError
from scenarios.indexing.facts import SceneFacts, facts_of, scene_facts, sketches_of, states_of
from scenarios.map_sketch import Sketch
from scenarios.opponents import KINDS, OpponentKind, select_opponent
from scenarios.scenario import Scenario, ScenarioSource, SceneList


class WithOpponents(SceneList):
    """The scenes of a source, each with its opponent chosen among one kind of road users; a `ScenarioSource`."""

    def __init__(self, source: ScenarioSource, kind: OpponentKind) -> None:
        """Choose anew in `source`, whose own opponents do not matter; `kind` says who may attack (`select_opponent`).

        Raises:
            ConfigError: There is no such kind.
        """
        if kind not in KINDS:
            raise ConfigError(f"opponent {kind!r:.80}: expected one of {', '.join(KINDS)}.")
        self.source, self.kind = source, kind
        self._ids = tuple(source.ids)

    def facts(self, indices: Sequence[int]) -> Iterator[SceneFacts]:
        """What is known of some scenes, in their order; only scenes with road users of the kind are read for it."""
        names = {kind.name.lower() for kind in KINDS[self.kind]}
        for index, known in zip(indices, scene_facts(self.source, indices), strict=True):
            if known.error:
                yield known
            elif names & known.kinds.keys():
                yield replace(facts_of(self[index]), rate=known.rate)
            else:
                reason = f"no opponent: nobody here is a {' or '.join(sorted(names))}"
                tags = known.tags.without_opponent()
                yield replace(known, opponent=None, opponent_fault=reason, unfit=reason, tags=tags)

    def sketches(self, indices: Sequence[int]) -> Iterator[Sketch]:
        """The maps of some scenes, in their order."""
        return sketches_of(self.source, indices)

    def states(self, indices: Sequence[int]) -> Iterator[str]:
        """Texts that change whenever the files of some scenes do, in their order; empty without a file."""
        return (f"{state}{self.kind}" if state else state for state in states_of(self.source, indices))

    def _load(self, index: int) -> Scenario:
        scenario = self.source[index]
        return scenario.with_opponent(select_opponent(scenario, self.kind))
