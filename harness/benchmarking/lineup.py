"""Who takes part in a run: scenes, systems and adversaries, checked before the first episode and recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from harness.benchmarking.config import BenchmarkConfig, System
from harness.benchmarking.identity import digest_of, identify, joint_digest
from harness.commands.left_out import scene_lines
from harness.episodes.policies import load_policy
from harness.episodes.protocol import protocol_of
from harness.errors import ConfigError, RunError
from harness.files import Json, JsonDict
from harness.registry import targets
from harness.specs import parse
from scenarios.selection import LeftOut, left_out

FILE: Final = "lineup.json"


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """A system under test, for tables.

    Attributes:
        label: Name in tables.
        spec: What `load_policy` makes it from.
        privileged: Whether it reads more than sensors (the true state of others).
        sees_futures: Whether it even reads where others will be.
        control: `action` or `replay`.
        digest: SHA-256 of its file, or of those of its files (a checkpoint and statistics, or the files that a
            program's command names), or empty.
    """

    label: str
    spec: str
    privileged: bool
    sees_futures: bool
    control: str
    digest: str = ""

    @property
    def title(self) -> str:
        """Label with what a reader must know."""
        if self.control == "replay":
            return f"{self.label} (follows its log)"
        if self.sees_futures:
            return f"{self.label} (privileged: true states and futures)"
        return f"{self.label} (privileged: true states)" if self.privileged else self.label


@dataclass(frozen=True, slots=True)
class Lineup:
    """What a run consists of.

    Attributes:
        scenes: Scene ids, in order.
        systems: By label.
        adversaries: Labels, in order, without `none`.
        digests: SHA-256 of weights given by path.
        traffic_digest: SHA-256 of the weights (or of the user's own code) that move the background, or empty.
        left_out: Scenes that `--fit-only` left out, with the reason.
        notes: What else there is to say of the scenes, in lines.
    """

    scenes: tuple[str, ...]
    systems: tuple[SystemInfo, ...]
    adversaries: tuple[str, ...]
    digests: Mapping[str, str]
    traffic_digest: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def system(self, label: str) -> SystemInfo:
        """The system of that label."""
        return next(item for item in self.systems if item.label == label)

    def as_dict(self, protocol: str) -> JsonDict:
        """JSON-able, with the protocol's deviations."""
        return {**asdict(self), "protocol": protocol, "deviations": protocol_of(protocol).describe()}

    def check_same(self, stored: Json, folder: Path) -> None:
        """Refuse to go on with a run whose scenes or weights are no longer the same.

        Raises:
            RunError: Says what differs.
        """
        mine = self.as_dict(stored.get("protocol", "corrected"))
        if list(self.scenes) != stored.get("scenes"):
            theirs = stored.get("scenes") or []
            raise RunError(
                f"run {folder} was made with {len(theirs)} scenes, and its data now gives {len(self.scenes)}, or "
                "others. Restore the data, or start anew."
            )
        for item, old in zip(mine["systems"], stored.get("systems") or [], strict=False):
            if item["digest"] != old.get("digest"):
                raise RunError(f"run {folder}: the file of system {item['label']!r} has changed since. Start anew.")
        if dict(self.digests) != stored.get("digests"):
            raise RunError(f"run {folder}: the weights of an adversary have changed since. Start anew.")
        if stored.get("traffic_digest", self.traffic_digest) != self.traffic_digest:
            raise RunError(f"run {folder}: the weights of the traffic have changed since. Start anew.")


def assemble(config: BenchmarkConfig) -> Lineup:
    """Open the scenes and build everyone once, so that whatever is wrong is said before the first episode.

    Raises:
        GauntletError: Unknown names, unusable data, files or weights.
    """
    systems = tuple(_system(text) for text in config.sut)
    labels = [item.label for item in systems]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(
            f"benchmark: two systems are called {twice[0]!r}. Give one a name: --sut mine={config.sut[-1]}."
        )
    traffic = identify(config.traffic)
    for attacker in config.attackers:
        attacker.build(protocol=config.protocol, prior=config.prior)
    source = config.open()
    if len(source) == 0:
        raise ConfigError(f"benchmark: {config.data} has no scene in split {config.split!r}. Try --split all.")
    paths = [Path(item.spec.file) for item in config.attackers if item.spec.name in targets("adversary")]
    given = [path for path in paths if path.exists() and path != Path()]
    digests = {str(path): digest_of(path) for path in (*filter(None, (config.prior, config.attacks)), *given)}
    names = tuple(item.label for item in config.attackers)
    return Lineup(
        scenes=tuple(source.ids),
        systems=systems,
        adversaries=names,
        digests=digests,
        traffic_digest=traffic.digest,
        left_out=tuple(left_out(source)),
        notes=tuple(scene_lines([source])),
    )


def _system(text: str) -> SystemInfo:
    system = System.parse(text)
    with chdir("."):  # Its module may go to its own folder, and the paths of the command line are meant from here.
        policy = load_policy(system.spec)
    # A command (`external:…`) may be longer than the name of a file, which `os.path` takes and `pathlib` does not.
    whole = os.path.isfile(system.spec)
    spec = parse(system.spec)
    bare = [] if spec.name in targets("policy") else [spec.name]
    named = [system.spec] if whole else [*bare, spec.file, *map(str, spec.options.values())]
    files = [*(Path(name) for name in named), *getattr(policy, "files", ())]
    if not any(map(os.path.isfile, files)):
        # A policy whose file was left out names the one that comes with the package.
        files = [Path(str(getattr(policy, "path", "")))]
    digests = [digest_of(file) for file in dict.fromkeys(files) if os.path.isfile(file)]
    return SystemInfo(
        label=system.label or policy.name,
        spec=system.spec,
        privileged=bool(policy.privileged),
        sees_futures=bool(getattr(policy, "sees_futures", False)),
        control=policy.control,
        digest=joint_digest(digests) if len(digests) > 1 else "".join(digests),
    )
