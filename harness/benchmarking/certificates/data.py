"""What a certificate holds: numbers of single scenes, from which all that it says is worked out at every reading.

So a file can say nothing of traffic that does not follow from its numbers, and whoever reads one checks every number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from harness.benchmarking.identity import TrafficIdentity
from harness.episodes.records import UNDISTURBED
from harness.errors import ConfigError
from scenarios.values import identifier

FORMAT: Final = 1
"""Goes up when a file of the old kind can no longer be read, or a threshold changes."""
REFERENCES: Final = ("log", "idm-lane")
"""What traffic is compared with: the recording, and lane followers by rule."""
FLOOR: Final = "constant_velocity"
"""What `idm-lane` itself is compared with in realism."""
UNDISTURBED_SCORES: Final = ("crashed", "completion")
"""Scores that rank systems where nobody attacks: who crashes less, and who gets farther on its route."""
ATTACKED_SCORE: Final = "success"
"""Score that ranks systems under an attack: against whom it succeeds less often."""
BETTER: Final = {"crashed": -1.0, "completion": 1.0, "success": -1.0}
"""1 where more is better, -1 where less is."""
METRICS: Final = ("meta", "kinematic", "interactive", "map", "collided", "off_road")
"""Numbers of realism, each from 0 to 1."""
MOST_NUMBERS: Final = 2_000_000
"""Numbers of a certificate, of all scenes together; a thousand scenes of six systems under six attacks have 150,000."""
MOST_WORK: Final = 2_000_000
"""Comparisons of two systems, times scenes and `_OVERHEAD`: what a certificate says is worked out at every reading, and
this takes minutes. Ten systems under six attacks in a thousand scenes have 1,300,000."""
_OVERHEAD: Final = 200
"""So many scenes cost as much as a comparison by itself."""
LARGEST: Final = 2**53
"""Whole numbers beyond this are no seeds or counts."""

Numbers = tuple[float | None, ...]
"""One number per scene of the certificate; None where it is undefined."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how it was measured.

    Attributes:
        data: `procedural`, or the name of the data's folder or file.
        split: Split of the data.
        protocol: Protocol of the benchmark.
        seeds: Seeds of the benchmark; the first one is that of roll-outs as well.
        horizon: Steps after which episodes were cut off, or None.
        made: When, as ISO 8601.
        commit: Commit of the source tree, or None.
        versions: `package version`.
    """

    data: str
    split: str
    protocol: str
    seeds: tuple[int, ...]
    horizon: int | None
    made: str
    commit: str | None
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Realism of one kind of traffic, per scene: the likelihoods of the sim agents challenge, and shares of agents.

    Attributes:
        model: Its label.
        meta, kinematic, interactive, map: Realism and its buckets.
        collided, off_road: Shares of agents.
    """

    model: str
    meta: Numbers
    kinematic: Numbers
    interactive: Numbers
    map: Numbers
    collided: Numbers
    off_road: Numbers


@dataclass(frozen=True, slots=True)
class RealismNumbers:
    """Realism of all kinds.

    Attributes:
        weights: Year of the challenge whose weights count.
        rollouts: Per scene.
        models: One each, the certified one first.
    """

    weights: str
    rollouts: int
    models: tuple[ModelScores, ...]


@dataclass(frozen=True, slots=True)
class ModelHits:
    """In which scenes a follower ran into a braking ego.

    Attributes:
        model: Label of the traffic.
        hits: Per scene; None where nobody follows an ego that could brake.
    """

    model: str
    hits: tuple[bool | None, ...]


@dataclass(frozen=True, slots=True)
class ReactionHits:
    """Reactions of all kinds to an ego that brakes with `deceleration` m/s²; the certified one first."""

    deceleration: float
    models: tuple[ModelHits, ...]


@dataclass(frozen=True, slots=True)
class RankedSystem:
    """A system under test: its label, and the SHA-256 of its file, or empty."""

    label: str
    digest: str


@dataclass(frozen=True, slots=True)
class SystemScores:
    """One score of one system in one kind of traffic.

    Attributes:
        traffic, adversary, system: Labels; adversary `none` is the undisturbed scene.
        score: Which one; see `BETTER`.
        values: Per scene, means over seeds; None where an episode failed.
    """

    traffic: str
    adversary: str
    score: str
    system: str
    values: Numbers


@dataclass(frozen=True, slots=True)
class RankingScores:
    """What systems are ranked by.

    Attributes:
        systems: In the order of the benchmark.
        adversaries: Labels, `none` left out.
        rows: Every traffic, criterion and system once.
    """

    systems: tuple[RankedSystem, ...]
    adversaries: tuple[str, ...]
    rows: tuple[SystemScores, ...]

    @property
    def criteria(self) -> list[tuple[str, str]]:
        """Adversary and score of each ranking."""
        quiet = [(UNDISTURBED, score) for score in UNDISTURBED_SCORES]
        return quiet + [(name, ATTACKED_SCORE) for name in self.adversaries]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A fidelity certificate as data; see `harness.benchmarking.certificates.judging` for what follows from it.

    Attributes:
        format: `FORMAT`.
        traffic: What is certified.
        setting: Where and how it was measured.
        scenes: Ids; every row of numbers has one for each.
        realism, reaction, ranking: The numbers.
    """

    format: int
    traffic: TrafficIdentity
    setting: Setting
    scenes: tuple[str, ...]
    realism: RealismNumbers
    reaction: ReactionHits
    ranking: RankingScores

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: Says which one cannot be, or what is missing.
        """
        if self.format != FORMAT:
            raise ConfigError(f"a certificate of format {FORMAT} is expected, not {self.format}. Make it anew.")
        _check_names(self)
        _check_counts(self)
        own = [self.traffic.label]
        _once("models of realism", [item.model for item in self.realism.models], own + self.compared)
        _once("models of reaction", [item.model for item in self.reaction.models], own + self.references)
        _check_ranking(self)
        for where, row, low, high in _rows(self):
            if len(row) != len(self.scenes):
                raise ConfigError(f"{where} has {len(row)} numbers for {len(self.scenes)} scenes.")
            if not all(value is None or low <= value <= high for value in row):
                raise ConfigError(f"{where} has a number outside of {low:g} to {high:g}.")
        if len({tuple(hit is None for hit in item.hits) for item in self.reaction.models}) > 1:
            raise ConfigError("the reactions are not of the same scenes: somebody follows in all traffic, or in none.")

    @property
    def references(self) -> list[str]:
        """What reactions and rankings are compared with: `log` and `idm-lane`, itself left out."""
        return references_of(self.traffic.label)

    @property
    def compared(self) -> list[str]:
        """What its realism is shown beside, the yardstick last."""
        return compared_with(self.traffic.label)


def references_of(label: str) -> list[str]:
    """What traffic of that label is compared with."""
    return [name for name in REFERENCES if name != label]


def compared_with(label: str) -> list[str]:
    """What realism of traffic of that label is shown beside, the last one being what it must surpass."""
    others = references_of(label)
    return others if REFERENCES[-1] in others else [*others, FLOOR]


def _check_names(made: Certificate) -> None:
    setting, systems = made.setting, made.ranking.systems
    texts = [made.traffic.name, *made.traffic.options, setting.data, setting.split, setting.protocol, setting.made]
    texts += [*setting.versions, *([] if setting.commit is None else [setting.commit]), made.realism.weights]
    texts += [
        *made.scenes,
        *made.ranking.adversaries,
        *(text for item in systems for text in (item.label, item.digest)),
    ]
    for text in texts:
        try:
            identifier(text)
        except ValueError as error:
            raise ConfigError(f"a name cannot be used: {error}.") from error
    for what, names in (
        ("scenes", made.scenes),
        ("adversaries", (UNDISTURBED, *made.ranking.adversaries)),
        ("systems", [item.label for item in systems]),
    ):
        _once(what, names, list(dict.fromkeys(names)))


def _check_counts(made: Certificate) -> None:
    whole = [
        *made.setting.seeds,
        made.realism.rollouts,
        *([] if made.setting.horizon is None else [made.setting.horizon]),
    ]
    if not made.setting.seeds or not all(0 <= number <= LARGEST for number in whole) or made.realism.rollouts < 1:
        raise ConfigError("seeds, roll-outs and horizon are whole numbers from 0 on, and there are some.")
    if not 0 < made.reaction.deceleration <= 100:
        raise ConfigError(f"a deceleration of {made.reaction.deceleration:g} m/s² cannot be.")
    rows = len(METRICS) * len(made.realism.models) + len(made.reaction.models) + len(made.ranking.rows)
    if not made.scenes or rows * len(made.scenes) > MOST_NUMBERS:
        raise ConfigError(f"expected 1 to {MOST_NUMBERS:,} numbers, found {rows * len(made.scenes):,}.")
    pairs = len(made.ranking.rows) * (len(made.ranking.systems) - 1) // 2
    if pairs * (len(made.scenes) + _OVERHEAD) > MOST_WORK:
        raise ConfigError(
            f"{len(made.ranking.systems)} systems are too many: {pairs:,} comparisons of two in {len(made.scenes):,} "
            "scenes."
        )


def _check_ranking(made: Certificate) -> None:
    ranking, kinds = made.ranking, [made.traffic.label, *made.references]
    labels = [item.label for item in ranking.systems]
    wanted = [(kind, *criterion, label) for kind, criterion, label in product(kinds, ranking.criteria, labels)]
    found = [(row.traffic, row.adversary, row.score, row.system) for row in ranking.rows]
    _once("rows of the ranking", found, wanted)


def _once(what: str, found: Iterable[object], wanted: Sequence[object]) -> None:
    """Everything that is wanted, once, and nothing else."""
    items = list(found)
    if len(items) != len(wanted) or set(items) != set(wanted):
        raise ConfigError(f"the {what} are incomplete, doubled, or others than belong to this traffic.")


def _rows(made: Certificate) -> Iterable[tuple[str, Sequence[float | None], float, float]]:
    """Every row of numbers with what it is called, and the least and the largest number that it may hold."""
    for model in made.realism.models:
        for metric in METRICS:
            yield f"{metric} of {model.model}", getattr(model, metric), 0.0, 1.0
    for hits in made.reaction.models:
        yield f"reaction of {hits.model}", hits.hits, 0.0, 1.0
    for row in made.ranking.rows:
        yield f"{row.score} of {row.system} under {row.adversary} in {row.traffic}", row.values, 0.0, 1.0
