"""Scenes prepared for alignment: the model's input and the objectives of every future, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries.common.plans import ego_futures
from adversaries.sage.backbone import Backbone, Case, Ints
from adversaries.sage.objectives import Objectives, Values, concatenate
from harness.errors import AdversaryError, ConfigError
from harness.interfaces import AttackContext
from harness.metrics.collision import overlaps
from harness.metrics.encounter_kinds import NO_ENCOUNTER, encounter_kinds
from scenarios.filters import reject_reason
from scenarios.map_index import has_road_edges
from scenarios.scenario import CURRENT_STEP, Scenario, ScenarioSource

Floats = NDArray[np.float64]

CHUNK: Final = 128
"""Futures judged at once."""


class Judgement(NamedTuple):
    """What is known of K futures against the ego: objectives, and kinds of encounter [K]."""

    values: Values
    kinds: Ints

    def take(self, index: NDArray[np.int64] | slice) -> Judgement:
        """The chosen rows."""
        return Judgement(self.values.take(index), self.kinds[index])


class Entry:
    """One scene: the agent's case, objectives and reference log-probabilities by token row.

    Where the backbone can list its futures, all are judged at once and the scene is let go; otherwise, and against
    drives that will soon be old, they are judged when they first occur, and the reference is asked about those that
    make pairs.

    Attributes:
        id: Id of the scene.
        edges: Whether its map has road edges, so that feasibility is a judgement.
        case: The agent's case.
    """

    def __init__(
        self, scenario: Scenario, backbone: Backbone, step: int = CURRENT_STEP, against: AttackContext | None = None
    ) -> None:
        """Prepare a scene whose `opponent` is set, against the ego trajectories of a context or, without one, the log.

        Raises:
            AdversaryError: The scene has no opponent, or the backbone cannot predict it.
        """
        if scenario.opponent is None:
            raise AdversaryError(f"scenario {scenario.id}: no opponent to align on; select one first.")
        self.id, self.edges = scenario.id, has_road_edges(scenario)
        self.case: Case = backbone.prepare(scenario, scenario.opponent, step)
        self._reference = backbone
        self._judge: Callable[[Ints], Judgement] | None = self._judge_of(scenario, backbone, step, against)
        self._judged: dict[bytes, Judgement] = {}
        self._asked: dict[bytes, float] = {}
        self._table: tuple[Judgement, torch.Tensor] | None = None
        listed = None if against is not None else backbone.vocabulary(self.case)
        if listed is not None:
            parts = [self._judge(listed[i : i + CHUNK]) for i in range(0, len(listed), CHUNK)]
            self._table = _together(parts), self._ask(listed)
            self._judge = None

    def values(self, tokens: Ints) -> Values:
        """Objectives of token rows [K, L]."""
        return self._judgement(tokens).values

    def kinds(self, tokens: Ints) -> Ints:
        """The kinds of encounter [K] of token rows [K, L] with the ego (its newest drive), or `NO_ENCOUNTER`."""
        return self._judgement(tokens).kinds

    def all_kinds(self) -> Ints:
        """The same of every future that the backbone lists [V].

        Raises:
            ConfigError: It lists none.
        """
        if self._table is None:
            raise ConfigError(f"scenario {self.id}: this backbone cannot list its futures.")
        return self._table[0].kinds

    def _judgement(self, tokens: Ints) -> Judgement:
        if self._table is not None:
            return self._table[0].take(tokens[:, 0])
        keys, new = _unknown(tokens, self._judged)
        if new and self._judge is not None:
            found = self._judge(tokens[new])
            for place, index in enumerate(new):
                self._judged[keys[index]] = found.take(slice(place, place + 1))
        return _together([self._judged[key] for key in keys])

    def reference(self, tokens: Ints) -> torch.Tensor:
        """Log π_ref [K] of token rows [K, L]."""
        if self._table is not None:
            return self._table[1][torch.as_tensor(tokens[:, 0])]
        keys, new = _unknown(tokens, self._asked)
        if new:
            for index, log_prob in zip(new, self._ask(tokens[new]).tolist(), strict=True):
                self._asked[keys[index]] = log_prob
        return torch.tensor([self._asked[key] for key in keys])

    def listed(self) -> tuple[Ints, NDArray[np.bool_]] | None:
        """Every token row [V, L] and whether it is feasible [V]; None where the backbone cannot list its futures."""
        if self._table is None:
            return None
        feasible = self._table[0].values.feasible
        return np.arange(len(feasible), dtype=np.int64)[:, None], feasible

    @torch.no_grad()
    def _ask(self, tokens: Ints) -> torch.Tensor:
        return self._reference.distribution([self.case]).log_prob([tokens])[0].clone()

    def _judge_of(
        self, scenario: Scenario, backbone: Backbone, step: int, against: AttackContext | None
    ) -> Callable[[Ints], Judgement]:
        assert scenario.opponent is not None
        agent, ego = scenario.opponent, scenario.ego
        objectives = Objectives(scenario, agent, step)
        track, seen, size = scenario.states(ego)[None], scenario.valid[ego][None], scenario.box(ego)
        if against is not None:
            (track, seen), size = ego_futures(against), against.ego_size

        def judge(tokens: Ints) -> Judgement:
            states, valid = backbone.futures(scenario, agent, step, self.case, tokens)
            pair = states, np.broadcast_to(valid, states.shape[:-1]), objectives.size, track[-1:], seen[-1:], size
            met = overlaps(*pair, step + 1)
            first = met.argmax(-1)
            poses = states[np.arange(len(states)), first, :3], objectives.size, track[-1, first, :3], size
            kinds = np.where(met.any(-1), encounter_kinds(*poses), NO_ENCOUNTER)
            return Judgement(objectives(states, valid, track, seen, size), kinds)

        return judge


def _together(parts: list[Judgement]) -> Judgement:
    return Judgement(concatenate([part.values for part in parts]), np.concatenate([part.kinds for part in parts]))


def _unknown(tokens: Ints, known: Mapping[bytes, object]) -> tuple[list[bytes], list[int]]:
    """The keys of token rows [K, L], and which rows are not among the known ones; each only once."""
    keys = [row.tobytes() for row in tokens]
    first = {key: index for index, key in reversed(list(enumerate(keys))) if key not in known}
    return keys, sorted(first.values())


@dataclass(frozen=True)
class Bank:
    """Prepared scenes, and why others were left out (scene id, reason)."""

    entries: tuple[Entry, ...]
    rejected: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.entries)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[list[Entry]]:
        """The scenes in groups of `size`, in random order if `rng` is given."""
        order: Ints = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for begin in range(0, len(order), size):
            yield [self.entries[index] for index in order[begin : begin + size]]


def build_bank(
    source: ScenarioSource | Sequence[Scenario],
    reference: Backbone,
    *,
    filtered: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bank:
    """Prepare scenes against the logged ego.

    Args:
        source: Scenes with opponents.
        reference: The pretrained backbone.
        filtered: Leave out what the paper leaves out (`scenarios.filters`).
        progress: Called with (done, total).

    Raises:
        ConfigError: No scene is left.
    """
    entries, rejected = [], []
    for index in range(len(source)):
        scenario = source[index]
        reason = reject_reason(scenario) if filtered else None
        if reason is None:
            try:
                entries.append(Entry(scenario, reference))
            except AdversaryError as error:
                reason = str(error)
        if reason is not None:
            rejected.append((scenario.id, reason))
        progress(index + 1, len(source))
    if not entries:
        why = f"; the first one: {rejected[0][1]}" if rejected else ""
        raise ConfigError(f"none of {len(source)} scenes can be used for alignment{why}.")
    return Bank(tuple(entries), tuple(rejected))
