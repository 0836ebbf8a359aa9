"""The InfGen-like model as the background; `harness.traffic.open.policy` has what it shares with RosettaSim."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.traffic.infgen.decoding import InfGenOptions, Inserted, Insertion
from harness.traffic.infgen.model import InfGenModel
from harness.traffic.infgen.simulator import InfGenSimulator
from harness.traffic.model.smart import to_frame
from harness.traffic.open.decisions import choose_pieces
from harness.traffic.open.decoding import without
from harness.traffic.open.policy import Admit, OpenTraffic, options_of
from harness.traffic.policy import Bools, Floats
from harness.traffic.tokens.layout import layout_tokens


class InfGenTraffic(OpenTraffic):
    """`SpawningTraffic`: an InfGen-like model moves the background, and says who enters and who leaves it.

    Who is moved, who watches and who may enter says `OpenTraffic`. A newcomer has the size that the model gives it.
    A head removes who most probably leaves; ego and opponent stay. What of InfGen is not followed is said in
    `harness.traffic.infgen.network`, `losses` and `decoding`.

    Paper: InfGen (Peng et al. 2025).

    Args:
        weights: File of `train_traffic --stage infgen`; none comes with the package.
        device: Where it computes.
        options: Fields of `InfGenOptions`, instead of the defaults.

    Raises:
        WeightsError: No file is given, or it cannot be used.
        ConfigError: Bad options.
    """

    name = "infgen"
    simulator = InfGenSimulator
    """Rolls out 8 s of whole scenes, many times at once."""

    def __init__(self, weights: str | Path | None = None, *, device: str = "cpu", **options: Any) -> None:
        self.options = options_of(self.name, InfGenOptions, options)
        model = InfGenModel.load(weights, device=device)
        super().__init__(model, self.options, Path(cast(str | Path, weights)))
        self._network = model.network
        with torch.no_grad():
            self._tables = self._network.tables()

    def _consider(self, features: Tensor) -> None:
        """Begin a decision."""
        self._decision = Insertion(self._network, self._tables, self._map.encoded, features)

    def _motion_logits(self, kinds: Tensor, motion: Tensor, known: Tensor) -> Tensor:
        """Logits [N, V] of everybody's next motion: SMART's head."""
        with torch.no_grad():
            return self._network.logits(self._decision.agents, kinds, motion, self._table, known)

    def _chosen(self, states: Floats, valid: Bools) -> NDArray[np.int64]:
        """Tokens [A] of everybody; who leaves goes."""
        token = super()._chosen(states, valid)
        if self.options.leaving and len(self._rows):
            gone = np.zeros_like(valid)
            gone[self._rows] = self._decision.leaves().cpu().numpy()
            self._remove(gone & self._moved)
        return token

    def _draw_newcomers(self, poses: Floats, stays: Bools, admit: Admit) -> None:
        """Go through the loop of insertion."""
        observer, scene, rows = self._observer, self._map, self._rows
        place = to_frame(observer, scene.frame)
        pieces = choose_pieces(scene.pieces, scene.kinds, place, self._network.infgen.pieces)
        self._decision.look_around(
            pieces,
            scene.pieces[pieces],
            to_frame(poses[rows], scene.frame),
            without(layout_tokens(poses[rows], observer), ~stays[rows]),
            place,
        )

        def enters(who: Inserted) -> bool:
            return admit(who.kind, self._snapped(who.kind, who.pose(observer)), who.size)

        cells = torch.as_tensor(self._cells(), device=self.model.device)
        self._decision.newcomers(self.options, self._generator, enters, cells)
