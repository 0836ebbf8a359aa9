"""The adversary that leaves the scene as it was recorded."""

from __future__ import annotations

from harness.interfaces import AttackContext, AttackPlan


class NoAdversary:
    """Never attacks: the baseline that every table needs."""

    name = "none"

    def __init__(self, protocol: str = "corrected") -> None:
        """Accept (and ignore) the protocol, so that every adversary is built alike."""

    def plan(self, context: AttackContext) -> AttackPlan | None:
        """Return None: the opponent follows its log."""
        return None
