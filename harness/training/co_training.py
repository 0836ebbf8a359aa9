"""Training an adversary beside the ego: so many steps of the ego, then so many updates of the adversary, in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from harness.episodes.attacks import attack_context
from harness.errors import AdversaryError, ConfigError
from harness.fast.episodes import AttackedEpisodes
from harness.interfaces import Adversary, AttackContext

FOLDER: Final = "co_trained"
"""Folder within a run in which the adversary leaves what it has learnt."""
_SEED: Final = 2
"""Tells the generator of an adaptation from those of episodes."""


@runtime_checkable
class AdaptingAdversary(Adversary, Protocol):
    """An adversary that learns against the ego's latest drives, optional beside it. Its state survives in checkpoints.

    Attributes:
        scenes_per_update: Scenes that an update looks at.
    """

    scenes_per_update: int

    def adapt(self, contexts: Sequence[AttackContext], updates: int, seed: int) -> Mapping[str, float]:
        """Learn for so many updates, at most.

        Args:
            contexts: Scenes with the drives to attack; one may come more than once. Scenes that cannot be attacked are
                left out.
            updates: Most updates.
            seed: Decides everything random; other generators stay as they are.

        Returns:
            Numbers worth a curve, all finite.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that was learnt: dictionaries, lists, tensors, numbers and text."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was learnt into a folder that exists, as files that the adversary reads by its specification."""
        ...


class CoTraining:
    """Adapts an adversary whenever the ego has driven so many steps.

    An adaptation looks at scenes in which the ego has a remembered drive, in random order, and attacks the newest
    one in each. Everything random in adaptation n follows from (seed, n).

    Attributes:
        adversary: Who adapts.
        rounds: Adaptations that were due so far.
    """

    def __init__(
        self, adversary: Adversary | None, episodes: AttackedEpisodes, *, every: int, updates: int, seed: int
    ) -> None:
        """Adapt by `updates` updates after `every` steps each.

        Raises:
            ConfigError: The adversary does not adapt.
        """
        if not isinstance(adversary, AdaptingAdversary):
            name = "none" if adversary is None else adversary.name
            raise ConfigError(
                f"--co-train: the adversary {name!r} does not learn against the ego's drives. Use --adversary sage, or "
                "one with the methods of harness.training.co_training.AdaptingAdversary."
            )
        self.adversary, self.rounds = adversary, 0
        self._episodes, self._every, self._updates, self._seed = episodes, every, updates, seed

    def after(self, step: int) -> dict[str, float]:
        """Adapt where it is due at a step of the run; numbers for its record, empty where nothing was due."""
        due = step // self._every
        if due <= self.rounds:
            return {}
        self.rounds = due
        rng = np.random.default_rng([self._seed, due, _SEED])
        contexts = self._contexts(rng)
        told = self.adversary.adapt(contexts, self._updates, int(rng.integers(2**31))) if contexts else {}
        return {f"adversary_{name}": value for name, value in told.items()}

    def save(self, run: Path) -> None:
        """Leave in a run folder what the adversary has learnt."""
        folder = run / FOLDER
        folder.mkdir(exist_ok=True)
        self.adversary.save(folder)

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on exactly, for `harness.fitting.checkpoint.write_state`."""
        return {"rounds": self.rounds, "adversary": self.adversary.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rounds = int(state["rounds"])
        self.adversary.load_state_dict(state["adversary"])

    def _contexts(self, rng: np.random.Generator) -> list[AttackContext]:
        """The scenes of an adaptation, with the newest drive in each."""
        source, buffer = self._episodes.source, self._episodes.buffer
        known = [index for index, name in enumerate(source.ids) if buffer.drives(name)]
        if not known:
            return []
        wanted = self._updates * self.adversary.scenes_per_update
        # Each once before any comes again.
        drawn = np.concatenate([rng.permutation(known) for _ in range(-(-wanted // len(known)))])[:wanted].tolist()
        made: dict[int, AttackContext | None] = {}
        for index in drawn:
            if index not in made:
                scenario = source[index]
                newest, size = buffer.drives(scenario.id)[-1:], self._episodes.ego_size
                try:
                    made[index] = attack_context(scenario, rng, ego=newest, ego_size=size)
                except AdversaryError:
                    made[index] = None
        found = (made[index] for index in drawn)
        return [context for context in found if context is not None]
