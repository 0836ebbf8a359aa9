"""A round of attacks, from its configuration to its tables, pictures and exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from harness.attacks.attackers import Dialled
from harness.attacks.closed_loop import SimulatedAttack, simulate
from harness.attacks.config import AttackConfig
from harness.attacks.export import attacked_scene
from harness.attacks.frozen import RECORDED, AttackKey, FrozenAttack, frozen
from harness.attacks.open_loop import AttackRecord, attack_all, summarise
from harness.attacks.tables import open_loop_table, simulation_table
from harness.commands.printing import grouped, tracked
from harness.commands.scaffold import Session
from harness.drawing.attacks import draw_attack
from harness.episodes.ego_buffer import log_trajectory
from harness.episodes.policies import load_policy
from harness.episodes.protocol import protocol_of
from harness.errors import ConfigError
from harness.exports.library import library
from harness.exports.openscenario import write_openscenario
from harness.files import file_name, write_json, write_text
from harness.interfaces import Adversary, AttackPlan, EgoPolicy
from harness.report.tables import csv_text
from scenarios.export import write_folder
from scenarios.scenario import Scenario, ScenarioSource

FILES: Final = {
    "attacks.csv": "every attack on the logged ego",
    "summary.json": "the table of these attacks",
    "simulated.csv": "every attack on the system under test, simulated",
    "pictures": "the first attacks of each adversary, from above",
    "scenes": "attacked scenes for stock MetaDrive",
    "openscenario": "attacked scenes as OpenSCENARIO and OpenDRIVE",
    "left_out.json": "scenes that were left out, and why",
}
"""What a round of attacks leaves in its run folder."""


def run_attacks(config: AttackConfig, session: Session) -> Path:
    """Attack, write the folder, print tables; return the folder.

    Raises:
        GauntletError: Unknown names, unusable data or weights, or an unwritable folder.
    """
    if config.export_openscenario:
        library()  # missing libraries are found now, not after the first attack
    policy = None if config.sut is None else load_policy(config.sut)  # a misspelt name, too
    adversaries = [
        Dialled(attacker.build(protocol=config.protocol, prior=config.prior), attacker.label, attacker.intensity)
        for attacker in config.attackers
    ]
    source = config.open()
    if len(source) == 0:
        raise ConfigError(f"attack: {config.data} has no scene in split {config.split!r}. Try --split all.")
    with session.open_run(config, source) as folder:
        scenes = tracked((source[index] for index in range(len(source))), "attacking", session.news, len(source))
        keep = _Keeper(folder.path, config)
        records = attack_all(
            adversaries,
            scenes,
            protocol_of(config.protocol),
            intensity=config.intensity,
            seed=config.seed,
            on_plan=keep,
        )
        if config.freeze is not None:
            told = {"protocol": config.protocol, "traffic": RECORDED, "seed": config.seed}
            for key in frozen(keep.attacks, config.freeze, **told):
                session.warn(f"not frozen, a controller drives it: {key.adversary} in scene {key.scene}")
        # What an adversary cannot attack is a scene's fault most often: said once, not once for every adversary.
        reasons = ((item.scenario, item.error.removeprefix(f"scenario {item.scenario}: ")) for item in records)
        for line in grouped(dict.fromkeys(reason for reason in reasons if reason[1]), "scenes"):
            session.warn(f"not attacked: {line}")
        summaries = summarise(records, config.seed)
        write_text(folder.path / "attacks.csv", csv_text(asdict(record) for record in records))
        write_json(folder.path / "summary.json", summaries)
        session.console.print(open_loop_table(summaries).rich(turned=True))
        if policy is not None:
            episodes = _simulated(config, source, adversaries, policy, session)
            write_text(folder.path / "simulated.csv", csv_text(asdict(episode) for episode in episodes))
            session.console.print(simulation_table(episodes).rich(turned=True))
        return folder.path


def _simulated(
    config: AttackConfig, source: ScenarioSource, adversaries: Sequence[Adversary], policy: EgoPolicy, session: Session
) -> list[SimulatedAttack]:
    return simulate(
        source,
        len(source),
        policy,
        adversaries,
        protocol_of(config.protocol),
        intensity=config.intensity,
        seed=config.seed,
        horizon=config.horizon,
        progress=lambda indices: tracked(indices, "simulating", session.news),
    )


class _Keeper:
    """Draws the first attacks of each adversary, writes attacked scenes and keeps attacks where that is wanted.

    Attributes:
        attacks: What is to be frozen.
    """

    def __init__(self, folder: Path, config: AttackConfig) -> None:
        self._folder, self._config = folder, config
        self._drawn: Counter[str] = Counter()
        self._intensities = {attacker.label: attacker.intensity for attacker in config.attackers}
        self.attacks: list[tuple[AttackKey, FrozenAttack | None]] = []

    def __call__(self, scenario: Scenario, record: AttackRecord, plan: AttackPlan | None) -> None:
        if record.error:
            return
        if self._config.freeze is not None:
            key = AttackKey(record.adversary, RECORDED, scenario.id)
            self.attacks.append((key, FrozenAttack.of(scenario, self._intensities[record.adversary], plan)))
        label = file_name(record.adversary, "-_@.")
        if plan is not None and (self._config.export or self._config.export_openscenario):
            self._export(attacked_scene(scenario, plan, f"{scenario.id}-{record.adversary}"), label)
        if self._drawn[record.adversary] >= self._config.pictures:
            return
        self._drawn[record.adversary] += 1
        path = self._folder / "pictures" / f"{label}_{file_name(scenario.id)}.png"
        published = protocol_of(record.protocol).success_of_the_plan
        step = record.contact_step_cat if published else record.contact_step
        ego = log_trajectory(scenario)
        title = f"{record.adversary} ({record.protocol}), scene {scenario.id}"
        draw_attack(scenario, plan, ego, path, contact_step=step, title=title)

    def _export(self, attacked: Scenario, label: str) -> None:
        if self._config.export:
            write_folder([attacked], self._folder / "scenes" / label)
        if self._config.export_openscenario:
            write_openscenario(attacked, self._folder / "openscenario" / label, file_name(attacked.id))
