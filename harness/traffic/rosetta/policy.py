"""RosettaSim as the background; `harness.traffic.open.policy` has what it shares with other learned traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.traffic.model.smart import to_frame
from harness.traffic.open.decisions import choose_pieces
from harness.traffic.open.decoding import without
from harness.traffic.open.policy import Admit, OpenTraffic, options_of
from harness.traffic.policy import Bools, Floats
from harness.traffic.rosetta.decoding import RosettaOptions, SequenceDecision, Spawned
from harness.traffic.rosetta.model import SHIPPED, RosettaModel
from harness.traffic.rosetta.simulator import RosettaSimulator
from harness.traffic.tokens.layout import layout_poses, layout_tokens


class RosettaTraffic(OpenTraffic):
    """`SpawningTraffic`: RosettaSim moves the background, and says who enters it.

    Who is moved, who watches and who may enter says `OpenTraffic`. A newcomer has the median size of its kind in
    training. Heuristics of the paper's appendix D.3 have switches of their own (`RosettaOptions`).

    Paper: RosettaSim, section 4 and appendix D.3. Ours: only vehicles enter on centre lines.

    Args:
        weights: File of `train_traffic --stage rosetta`; None for the one that comes with the package.
        device: Where it computes.
        base: Folder of the sequence model `language`, if the weights were trained with one.
        options: Fields of `RosettaOptions`, instead of the defaults.

    Raises:
        WeightsError: The file cannot be used.
        ConfigError: Bad options.
    """

    name = "rosetta"
    simulator = RosettaSimulator
    """Rolls out 8 s of whole scenes, many times at once."""

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        base: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.options = options_of(self.name, RosettaOptions, options)
        model = RosettaModel.load(weights, device=device, base=base)
        super().__init__(model, self.options, Path(weights or SHIPPED))
        self._network = model.network
        with torch.no_grad():
            self._tables = self._network.tables()

    def _consider(self, features: Tensor) -> None:
        """Begin the sequence of a decision."""
        self._decision = SequenceDecision(self._network, self._tables, features)

    def _motion_logits(self, kinds: Tensor, motion: Tensor, known: Tensor) -> Tensor:
        """Logits [N, V] of everybody's next motion."""
        return self._decision.motion_logits(kinds, motion, known, self._table)

    def _draw_newcomers(self, poses: Floats, stays: Bools, admit: Admit) -> None:
        """Go on with the sequence: the map, the layout, and newcomers until the end or the first who may not enter."""
        observer, scene = self._observer, self._map
        place = to_frame(observer, scene.frame)
        pieces = choose_pieces(scene.pieces, scene.kinds, place, self._network.rosetta.pieces)
        assert scene.encoded.features is not None
        self._decision.look_around(
            scene.encoded.features[torch.as_tensor(pieces, device=self.model.device)],
            layout_tokens(scene.pieces[pieces], place),
            without(layout_tokens(poses[self._rows], observer), ~stays[self._rows]),
        )

        def enters(who: Spawned) -> bool:
            return admit(who.kind, self._placed(who), self._sizes_of_newcomers[who.kind])

        cells = torch.as_tensor(self._cells(), device=self.model.device)
        self._decision.newcomers(self.options, self._generator, enters, cells)

    def _placed(self, who: Spawned) -> Floats:
        """World pose [3] of a newcomer; vehicles near a centre line are on it."""
        return self._snapped(who.kind, layout_poses(np.array(who.grid), np.array(who.yaw), self._observer))
