"""Adversaries as a user lists them: several at once, each with a label and an intensity of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.interfaces import Adversary, AttackContext, AttackPlan
from harness.specs import Spec, build, labelled, parse


@dataclass(frozen=True, slots=True)
class Attacker:
    """One row of a table: an adversary at one intensity.

    Attributes:
        label: In tables and file names: what the user wrote, or the label in front of it.
        spec: What it is built from.
        intensity: λ.
    """

    label: str
    spec: Spec
    intensity: float

    @classmethod
    def parse(cls, text: str, intensity: float) -> Attacker:
        """From a specification (see `harness.specs`) or `LABEL=` and a specification.

        Args:
            text: What the user wrote.
            intensity: λ where the specification has none.

        Raises:
            ConfigError: The specification is malformed.
        """
        label, rest = labelled(text)
        spec = parse(rest)
        return cls(label or rest, spec, intensity if spec.intensity is None else spec.intensity)

    def build(self, **offered: Any) -> Adversary:
        """Make the adversary, with those of the options offered (`protocol`, `prior` …) that it knows.

        Raises:
            UnknownNameError: No such adversary.
            ConfigError: It reads no file, or has no such option.
            WeightsError: Its weights are missing.
        """
        made: Adversary = build("adversary", self.spec, **offered)
        return made


class Dialled:
    """An adversary under a label of its own that plans every attack at its own intensity."""

    def __init__(self, adversary: Adversary, label: str, intensity: float) -> None:
        """Take the adversary."""
        self.adversary, self.name, self.intensity = adversary, label, intensity

    def plan(self, context: AttackContext) -> AttackPlan | None:
        """The adversary's plan; see `Adversary`."""
        return self.adversary.plan(replace(context, intensity=self.intensity))
