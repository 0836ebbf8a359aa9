"""What environments play next in training: recorded scenes, and attacks on what the ego drove there before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import EGO_LENGTH, EGO_WIDTH
from harness.episodes.attacks import Precondition, plan_attack
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.escapes import with_regret
from harness.episodes.protocol import CORRECTED, Protocol
from harness.episodes.schedules import FixedSchedule, Scheduler
from harness.episodes.starts import draw_start
from harness.errors import ConfigError
from harness.fast.plays import Finished, Play
from harness.interfaces import Adversary
from scenarios.importing import Watch
from scenarios.scenario import ScenarioSource

_TRAFFIC: Final = 1
"""Tells an episode's generator of traffic from its other one."""
_COUNTS: Final = ("drawn", "attacked", "unplanned", "refused")
"""What is counted."""


def _look_away(episode: Finished) -> None:
    """Nobody watches."""


class AttackedEpisodes:
    """Scenes, some of them attacked, as `AttackingEnv` plays them one at a time.

    Everything random in episode n comes from a generator of its own, derived from (seed, n), drawn in this order:
    scene, chance of an attack, the choice of a curriculum that chooses both, the step at which it begins, whatever the
    adversary draws; traffic draws from another one.

    An attack aims at the ego's last finished drives in that scene (its log before the first). A scene that cannot
    be attacked is played as recorded.

    Attributes:
        scheduler: When and how hard; it counts the steps of finished episodes.
        buffer: Remembered drives.
        drawn: Episodes begun so far.
        attacked: How many of them were attacked.
        unplanned: How many were to be attacked and could not be.
        refused: How many attacks failed the precondition, so that their scenes were played as recorded.
        ego_size: Length and width of the ego, m.
        planning_s: Seconds spent planning and judging plans.
        watch: Called with every finished episode.
    """

    def __init__(
        self,
        source: ScenarioSource,
        *,
        adversary: Adversary | None = None,
        scheduler: Scheduler | None = None,
        buffer: EgoBuffer | None = None,
        protocol: Protocol = CORRECTED,
        ego_size: tuple[float, float] = (EGO_LENGTH, EGO_WIDTH),
        starts: Sequence[NDArray[np.intp]] | None = None,
        precondition: Precondition | None = None,
        seed: int = 0,
    ) -> None:
        """Compose.

        Args:
            source: The scenes of the environments, in their order.
            adversary: Who attacks; None for nobody.
            scheduler: When and how hard; default: always, at full intensity, where there is an adversary.
            buffer: Remembered drives; default: five per scene.
            protocol: Decides whether plans are played one step late.
            ego_size: Length and width of the ego, m.
            starts: Steps at which an episode may begin, for each scene (`PackedScenes.beginnings`); by default 0.
            precondition: Attacks that fail it are not played; see `plan_attack`.
            seed: Decides everything random.

        Raises:
            ConfigError: There is no scene.
        """
        if not len(source):
            raise ConfigError("there is no scene to drive: the source is empty.")
        self.source, self.adversary, self.protocol = source, adversary, protocol
        self.scheduler: Scheduler = scheduler or FixedSchedule(1.0 if adversary else 0.0, 1.0)
        self.buffer = EgoBuffer() if buffer is None else buffer
        self.ego_size, self._starts, self._seed = ego_size, starts, seed
        self.precondition, self._ids = precondition, tuple(source.ids)
        self.drawn = self.attacked = self.unplanned = self.refused = 0
        self.planning_s = 0.0
        self.watch: Callable[[Finished], None] = _look_away
        # Sees the episodes of the next draw go by. The first one plans for every environment at once.
        self.counted: Watch = iter

    def draw(self, count: int) -> Sequence[Play]:
        """Scenes and attacks of the next episodes."""
        counted, self.counted = self.counted, iter
        return [self._draw() for _ in counted(range(count))]

    def _draw(self) -> Play:
        rng = np.random.default_rng([self._seed, self.drawn])
        traffic = (self._seed, self.drawn, _TRAFFIC)
        self.drawn += 1
        index, chance, schedule = int(rng.integers(len(self.source))), rng.random(), self.scheduler.current()
        if (choice := self.scheduler.choose(self._ids, rng)) is not None:
            index, schedule = choice
        start = 0 if self._starts is None else draw_start(self._starts[index], rng)
        if self.adversary is None or chance >= schedule.probability:
            return Play(index, start=start, seed=traffic)
        scenario = self.source[index]
        attack = plan_attack(
            self.adversary,
            scenario,
            rng,
            intensity=schedule.intensity,
            ego=self.buffer.get(scenario),
            ego_size=self.ego_size,
            protocol=self.protocol,
            on_error="tell",
            precondition=self.precondition,
        )
        self.planning_s += attack.seconds
        self.attacked += attack.plan is not None
        self.refused += attack.refused
        self.unplanned += attack.planned is None
        if attack.plan is None:
            self.scheduler.unattackable(scenario.id, schedule.intensity)
        return Play(index, attack.plan, attack.played_intensity, start, traffic)

    def finished(self, episode: Finished) -> None:
        """Remember what the ego did, and tell the schedule how it went."""
        play, outcome = episode.play, episode.outcome
        if self.scheduler.chooses and outcome.attacked:
            outcome = with_regret(outcome, self.source[play.scene], play.plan, episode.ego, self.ego_size)
        self.scheduler.advance(episode.steps)
        self.scheduler.record(outcome)
        self.buffer.add(self._ids[play.scene], episode.ego, attacked=outcome.attacked)
        self.watch(episode)

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on exactly: counts, the schedule (JSON-able), and the remembered drives (arrays)."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return {**counts, "scheduler": self.scheduler.state_dict(), "buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in _COUNTS:
            setattr(self, name, int(state[name]))
        self.scheduler.load_state_dict(state["scheduler"])
        self.buffer.load_state_dict(state["buffer"])
