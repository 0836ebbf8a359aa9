"""A reactive controller that watches everybody, optional beside `ReactiveController`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from harness.interfaces import Bools, Floats, ReactiveController


@runtime_checkable
class WatchingController(ReactiveController, Protocol):
    """A `ReactiveController` that is also shown where everybody truly is, whoever moves them.

    Whether a controller is one is asked once for each episode, after its `reset`.
    """

    def watch(self, step: int, states: Floats, valid: Bools, sizes: Floats) -> None:
        """See the present; called for every step of the episode from its first on, before `act` of the same step.

        Args:
            step: The present.
            states: [A, STATE] where everybody is, ego and opponent included, by index in the scene; zeros where absent.
            valid: [A] who is there.
            sizes: [A, 2] length and width, m. Of the scene's reserve, those of whoever has entered.
        """
        ...
