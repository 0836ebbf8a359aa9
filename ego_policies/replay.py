"""The logged driver: follows the recording, whatever happens around it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import PolicyError
from harness.interfaces import EgoView
from scenarios.scenario import Scenario


class ReplayPolicy:
    """Moves the ego along its log, kinematically. Privileged: the log is the future.

    Limits: It does not react, so that attacks on it are attacks in open loop.
    """

    name = "replay"
    control: ClassVar[Literal["action", "replay"]] = "replay"
    observation = "none"
    privileged = True

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to prepare: the engine plays the log."""

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Never called for a policy whose `control` is `replay`.

        Raises:
            PolicyError: Always.
        """
        raise PolicyError("policy 'replay' drives by the log and has no actions; check `policy.control` first.")
