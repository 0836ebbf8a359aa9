"""What a benchmark says of its traffic: the certificate that it carries, or in one line that it has none."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict
from typing import Final

from harness.benchmarking.certificates.data import Certificate
from harness.benchmarking.certificates.judging import Findings
from harness.benchmarking.config import RECORDED, BenchmarkConfig
from harness.benchmarking.lineup import Lineup
from harness.files import JsonDict, plain

PACKAGE: Final = "gauntlet-drive"


def statement(config: BenchmarkConfig, lineup: Lineup, known: tuple[Certificate, Findings] | None) -> JsonDict:
    """What reports and JSON hold under `certificate`.

    Args:
        config: The benchmark's.
        lineup: Who took part.
        known: The certificate that it carries, with what follows from it; None without one.

    Returns:
        `line` (empty where the recording moves the background: it needs no certificate), `notes` (how far the
        certificate is about this run), `setting`, `checks` and `findings` (None without a certificate).
    """
    if known is None:
        line = "" if config.traffic == RECORDED else _without(config)
        return {"line": line, "notes": [], "setting": None, "checks": None, "findings": None}
    made, findings = known
    verdicts = "; ".join(f"{check.item} {check.verdict}" for check in findings.checks)
    found: JsonDict = {
        "line": f"Traffic {made.traffic.label} has a fidelity certificate: {verdicts}.",
        "notes": _notes(config, lineup, made),
        "setting": asdict(made.setting) | {"scenes": len(made.scenes), "rollouts": made.realism.rollouts},
        "checks": [asdict(check) for check in findings.checks],
        "findings": findings.as_dict(),
    }
    return {key: plain(value) for key, value in found.items()}


def _without(config: BenchmarkConfig) -> str:
    # A file's folder is nobody's business.
    name = config.traffic.partition("?")[0].rpartition("/")[2]
    return (
        f"Traffic {name} has no fidelity certificate: how lifelike it is, how it reacts, and whether it changes the "
        "ranking is not known (--certify makes one)."
    )


def _notes(config: BenchmarkConfig, lineup: Lineup, made: Certificate) -> list[str]:
    setting, ranking = made.setting, made.ranking
    notes = [
        f"Measured on {len(made.scenes)} scenes of {setting.data}, split {setting.split}, {made.realism.rollouts} "
        f"roll-outs, seeds {', '.join(map(str, setting.seeds))}, protocol {setting.protocol}, {setting.made[:10]}."
    ]
    if made.scenes != lineup.scenes:
        both = len(set(made.scenes) & set(lineup.scenes))
        notes.append(f"This run has other scenes: {both} of its {len(lineup.scenes)} are among them.")
    ranked = {item.label: item.digest for item in ranking.systems}
    if new := [item.label for item in lineup.systems if ranked.get(item.label) != item.digest]:
        notes.append(f"Its ranking knows nothing of these systems, or had other files of theirs: {', '.join(new)}.")
    if new := [name for name in lineup.adversaries if name not in ranking.adversaries]:
        notes.append(f"Its ranking knows nothing of these adversaries: {', '.join(new)}.")
    if setting.protocol != config.protocol or setting.horizon != config.horizon:
        notes.append("Its episodes had another protocol or horizon than those of this run.")
    mine = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    if mine not in setting.versions:
        notes.append(f"Another version of Gauntlet measured it; this one is {mine}.")
    return notes
