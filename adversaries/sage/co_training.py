"""An adversarial expert that goes on learning: HGPO on preferences against what the ego drives now.

Paper: SAGE, section 3.2 and algorithm 1, with the ego's latest drives in the place of the log. The reference of the
loss stays the prior, so that the expert keeps its distance from it however often it is adapted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from adversaries.sage.alignment import Alignment
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import Bank, Entry
from adversaries.sage.config import RECIPES, HgpoConfig
from adversaries.sage.experts import PRIOR_FILE, Experts, save_expert
from adversaries.sage.groups import Draw
from adversaries.sage.steering import flatten
from harness.errors import AdversaryError, WeightsError
from harness.fitting.weights import check_fit
from harness.interfaces import AttackContext

_TOLD: Final = ("adversarial", "realism", "feasible", "success")
"""What is told of the groups that an adaptation draws; see `alignment.summary`."""

_MOMENTS: Final = frozenset({"step", "exp_avg", "exp_avg_sq"})
"""What AdamW knows of a weight that has learnt; those of the completion, which HGPO leaves alone, have none."""


class CoTrainedExpert:
    """The adversarial expert of one training.

    Attributes:
        experts: The pair that it began with.
        policy: The expert as it is now.
        adaptations: How often it was adapted.
    """

    def __init__(self, experts: Experts, draw: Draw, config: HgpoConfig | None = None) -> None:
        """Begin with the expert as it was aligned."""
        self.experts, self.config = experts, config or HgpoConfig()
        self._reference = GoalBackbone(experts.prior, draw)
        self.policy = GoalBackbone(experts.prior, draw, experts.adv).clone()
        self.adaptations = 0
        self._moments: dict[int, dict[str, Any]] = {}

    def adapt(self, contexts: Sequence[AttackContext], updates: int, seed: int) -> dict[str, float]:
        """Go on with HGPO for so many updates.

        Args:
            contexts: Scenes with the drives to attack; one may come more than once. Those that cannot be attacked are
                left out.
            updates: Most updates; fewer where scenes are left out.
            seed: Decides everything random.

        Returns:
            Numbers of the groups that were drawn (`alignment.summary`), `loss`, `pairs`, and `drift`: the distance of
            the weights from where the expert began, relative to that from the prior to there.
        """
        entries = self._entries(contexts)
        if not entries:
            return {"pairs": 0.0}
        size = -(-len(contexts) // updates)
        config = replace(self.config, epochs=1, held_out_every=1, scenes_per_update=size, seed=seed)
        threads = torch.get_num_threads()
        try:
            # What the ego's training draws must not depend on the adversary's.
            with torch.random.fork_rng(devices=[]):
                alignment = Alignment(self.policy, Bank(tuple(entries), ()), None, RECIPES["adv"], config)
                own = alignment.optimiser.state_dict()
                alignment.optimiser.load_state_dict({**own, "state": self._moments})
                row = alignment.fit(part="co-trained expert")[-1]
        finally:
            torch.set_num_threads(threads)
        assert isinstance(alignment.policy, GoalBackbone), "a copy of the policy it was given"
        self.policy = alignment.policy
        self._moments = alignment.optimiser.state_dict()["state"]
        self.adaptations += 1
        told = {"loss": row["loss"], "pairs": row["pairs"], "drift": self._drift()}
        told |= {name: row["train"][name] for name in _TOLD}
        return {name: float(value) for name, value in told.items() if value is not None and math.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        """Weights, and what the optimiser knows of them, for `harness.fitting.checkpoint.write_state`."""
        return {"adaptations": self.adaptations, "network": self.policy.module.state_dict(), "moments": self._moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            WeightsError: It belongs to another network.
        """
        network, moments = state["network"], state["moments"]
        check_fit(self.policy.module.state_dict(), network, "co-trained expert")
        parameters = list(self.policy.module.parameters())
        for place, known in moments.items():
            fits = place in range(len(parameters)) and known.keys() == _MOMENTS
            if not fits or any(known[name].shape != parameters[place].shape for name in _MOMENTS - {"step"}):
                raise WeightsError(f"co-trained expert: what its optimiser knows of weight {place} is of another one.")
        self.policy.module.load_state_dict(network)
        self.adaptations, self._moments = int(state["adaptations"]), moments

    def save(self, folder: Path) -> None:
        """Write a folder of experts, for `--adversary sage:FOLDER`: the adapted one, the other one, and their prior."""
        self._reference.save(folder / PRIOR_FILE)
        draw = self.policy.draw
        real = GoalBackbone(self.experts.prior, draw, self.experts.real)
        about = {**self.experts.info.get("adv", {}), "adaptations": self.adaptations}
        save_expert(folder, "adv", self.policy, self._reference, about)
        save_expert(folder, "real", real, self._reference, self.experts.info.get("real", {}))

    def _entries(self, contexts: Sequence[AttackContext]) -> list[Entry]:
        made: dict[int, Entry | None] = {}
        for context in contexts:
            if id(context) not in made:
                try:
                    made[id(context)] = Entry(context.scenario, self._reference, context.step, context)
                except AdversaryError:
                    made[id(context)] = None
        found = (made[id(context)] for context in contexts)
        return [entry for entry in found if entry is not None]

    def _drift(self) -> float:
        prior, began, now = map(flatten, (self.experts.prior.network, self.experts.adv, self.policy.module))
        return float((now - began).norm() / (began - prior).norm().clamp(min=1e-12))
