"""Attacks as a file: plans that can be handed on and replayed against any system under test.

A file is safetensors: arrays and text, and nothing that runs. It names the scenes by what they hold, the protocol and
the versions that made the attacks, and its own content: whoever changes a plan changes its address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from harness.commands.runs import provenance
from harness.errors import AdversaryError, WeightsError
from harness.files import JsonDict, write_bytes
from harness.interfaces import STATE, AttackContext, AttackPlan
from harness.specs import Spec
from scenarios.digest import scene_digest
from scenarios.scenario import Scenario

FORMAT: Final = ("attacks", "gauntlet-attacks-1")
"""Key and value of the header that say what the file is."""
RECORDED: Final = "log"
"""What attacks on the recorded ego were made on."""
_PARTS: Final = ("states", "valid")


class AttackKey(NamedTuple):
    """Which attack: its adversary's label, the system whose drive it was made on, and the scene."""

    adversary: str
    made_on: str
    scene: str


@dataclass(frozen=True)
class FrozenAttack:
    """An attack on one scene.

    Attributes:
        digest: What the scene holds: `scene_digest`.
        intensity: λ.
        states: [T, STATE] of the plan, or None where the scene was left as it is recorded.
        valid: [T], or None.
    """

    digest: str
    intensity: float
    states: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, scenario: Scenario, intensity: float, plan: AttackPlan | None) -> FrozenAttack | None:
        """The attack of a plan, or None where a controller drives, which no file can hold."""
        if plan is None:
            return cls(scene_digest(scenario), intensity)
        if plan.controller is not None or plan.takeover_step is not None:
            return None
        return cls(scene_digest(scenario), intensity, plan.states, plan.valid)


@dataclass(frozen=True)
class AttackSet:
    """Attacks by key.

    Attributes:
        attacks: The attacks, in the order in which they were made.
        about: Protocol, traffic and versions: what `header` of the file says beside the attacks.
    """

    attacks: Mapping[AttackKey, FrozenAttack]
    about: JsonDict = field(default_factory=dict)

    @property
    def address(self) -> str:
        """SHA-256 of all attacks and of what is said about them."""
        found = hashlib.sha256(json.dumps(self._entries(), sort_keys=True).encode())
        for attack in self.attacks.values():
            for array in (attack.states, attack.valid):
                found.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    @property
    def groups(self) -> dict[tuple[str, str], float]:
        """Adversaries with the systems that they were made on, in their order, and their intensities."""
        return {(key.adversary, key.made_on): attack.intensity for key, attack in self.attacks.items()}

    def _entries(self) -> list[JsonDict]:
        return [
            {**key._asdict(), "digest": attack.digest, "intensity": attack.intensity, "empty": attack.states is None}
            for key, attack in self.attacks.items()
        ]

    def save(self, file: Path) -> None:
        """Write them.

        Raises:
            RunError: It cannot be written.
        """
        arrays = {}
        for number, attack in enumerate(self.attacks.values()):
            if attack.states is not None and attack.valid is not None:
                arrays[f"{number}.states"] = np.ascontiguousarray(attack.states, dtype=np.float64)
                arrays[f"{number}.valid"] = np.ascontiguousarray(attack.valid, dtype=np.bool_)
        # A file without arrays is none that the library reads.
        arrays["count"] = np.array([len(self.attacks)])
        header = {FORMAT[0]: FORMAT[1]}
        texts = {"entries": self._entries(), "about": self.about, "address": self.address}
        header |= {name: json.dumps(value) for name, value in texts.items()}
        write_bytes(file, save(arrays, header))

    @classmethod
    def load(cls, file: Path) -> AttackSet:
        """Read them.

        Raises:
            WeightsError: Missing, damaged, something else, or changed since it was written.
        """
        from harness.fitting.weights import read_tensors

        tensors, header = read_tensors(
            file, FORMAT, "{file}: no such file of attacks. Make one with attack --freeze or benchmark --freeze.", "np"
        )
        try:
            attacks = dict(_attack(number, entry, tensors) for number, entry in enumerate(header["entries"]))
            found = cls(attacks, dict(header["about"]))
            changed = found.address != header["address"]
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{file} holds no attacks that can be read ({error}). Make it anew.") from error
        if changed:
            raise WeightsError(f"{file} was changed after it had been written: its address is another. Make it anew.")
        return found


def _attack(number: int, entry: Mapping[str, Any], tensors: Mapping[str, Any]) -> tuple[AttackKey, FrozenAttack]:
    key = AttackKey(*(str(entry[name]) for name in AttackKey._fields))
    digest, intensity = str(entry["digest"]), float(entry["intensity"])
    if entry["empty"]:
        return key, FrozenAttack(digest, intensity)
    states, valid = (tensors[f"{number}.{part}"] for part in _PARTS)
    if states.dtype != np.float64 or valid.dtype != np.bool_ or states.shape != (len(valid), STATE):
        raise ValueError(f"attack {number} has arrays of {states.dtype} {states.shape} and {valid.dtype} {valid.shape}")
    return key, FrozenAttack(digest, intensity, states, valid)


def about(**settings: object) -> JsonDict:
    """What a file says about its attacks: versions, and settings such as protocol and traffic."""
    made = provenance()
    return {"versions": made["versions"], "commit": made["commit"], **settings}


@lru_cache(maxsize=4)
def _loaded(file: Path, state: tuple[int, int]) -> AttackSet:
    return AttackSet.load(file)


def opened(file: Path) -> AttackSet:
    """The attacks of a file, read once until it changes; errors as of `AttackSet.load`."""
    if not file.is_file():
        return AttackSet.load(file)
    found = file.stat()
    return _loaded(file.absolute(), (found.st_mtime_ns, found.st_size))


def frozen_spec(file: Path, adversary: str, made_on: str) -> Spec:
    """How the attacks of a file, of one adversary and system, are named as an adversary."""
    head = f"{FrozenAttacks.__module__}:{FrozenAttacks.__name__}"
    name, _, kind = head.partition(":")
    return Spec(name, kind, {"path": str(file), "attack": adversary, "made_on": made_on}, None, head)


class FrozenAttacks:
    """The adversary that replays attacks of a file, whatever the ego does.

    Args:
        path: File of attacks.
        attack: Label of the adversary that made them.
        made_on: Label of the system whose drive they were made on; `log` for the recorded ego.
        protocol: Every adversary is built with one; a plan is the same under all.

    Raises:
        WeightsError: The file cannot be used, or has no such attacks.
    """

    name = "frozen"

    def __init__(self, path: str, attack: str, made_on: str = RECORDED, protocol: str = "corrected") -> None:
        self._set, self._path, self._of = opened(Path(path)), path, (attack, made_on)
        if self._of not in self._set.groups:
            known = ", ".join(f"{one} on {other}" for one, other in self._set.groups)
            raise WeightsError(f"{path} has no attacks of {attack} on {made_on}. It has {known or 'none'}.")

    def plan(self, context: AttackContext) -> AttackPlan | None:
        """The plan of the file for this scene.

        Raises:
            AdversaryError: The file has none, or was made of a scene that held something else.
        """
        scene = context.scenario
        found = self._set.attacks.get(AttackKey(*self._of, scene.id))
        if found is None:
            raise AdversaryError(f"scenario {scene.id}: {self._path} has no attack of {' on '.join(self._of)} on it.")
        if found.digest != scene_digest(scene):
            raise AdversaryError(
                f"scenario {scene.id}: the attack in {self._path} was made on other data of this name."
            )
        if found.states is None or found.valid is None:
            return None
        return AttackPlan(found.states.copy(), found.valid.copy(), info={"frozen": self._path})


def frozen(
    found: Iterable[tuple[AttackKey, FrozenAttack | None]], file: Path, **settings: object
) -> Sequence[AttackKey]:
    """Write attacks into a file; returns those that cannot be frozen, because a controller drives them.

    Args:
        found: Attacks by key, None for one that no file can hold.
        file: Where.
        settings: What else the file says about them.

    Raises:
        RunError: It cannot be written.
    """
    attacks, left = {}, []
    for key, attack in found:
        if attack is None:
            left.append(key)
        else:
            attacks[key] = attack
    AttackSet(attacks, about(**settings)).save(file)
    return left
