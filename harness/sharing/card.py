"""The card of a shared thing: what it is, how it was made, how to use it, and its limits; made of its run's record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.commands.runs import RUN_FILE, read_run
from harness.errors import ConfigError, one_line
from harness.files import Json
from harness.report.tables import markdown_text
from harness.sharing.contents import SharedFile
from harness.sharing.recognition import TITLES, ShareKind, Use
from scenarios.sources import PROCEDURAL

LICENCES: Final = (
    "mit apache-2.0 bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 gpl-3.0 other".split()
)
"""Licences by the names that the hub has for them; `other` for one that the card's own text explains."""
ABOUT: Final[dict[ShareKind, str]] = {
    "policy": "A policy that drives the ego in Gauntlet's closed-loop simulation. It is a baseline to be tested.",
    "experts": "Two networks between which the adversary SAGE interpolates: one vicious, one natural.",
    "traffic": "A model that moves everybody in a scene who is neither ego nor opponent.",
    "prior": "A model of where a vehicle may go next, which adversaries choose their attacks from.",
    "skills": "Learned parts of the adversary SEAL.",
    "attacks": "Traffic scenes in which one vehicle attacks the ego.",
    "run": "The record and the tables of one run of Gauntlet.",
}
LIMITS: Final[dict[ShareKind, str]] = {
    "policy": "It was tried in simulation alone, on scenes like those of its making. It must not drive a vehicle.",
    "experts": "Experts belong to the prior that they were aligned from; beside any other they are refused.",
    "traffic": "It imitates the scenes that it was trained on. What is not in them, it has not seen.",
    "prior": "It imitates the scenes that it was trained on. What is not in them, it has not seen.",
    "skills": "They were learnt beside one motion prior and against one ego.",
    "attacks": "Attacks were aimed at one ego, and are weaker or stronger against another.",
    "run": "Its numbers hold for its scenes, its seeds and its version of Gauntlet.",
}
MAX_FILES_NAMED: Final = 30


def write_card(
    folder: Path, files: Sequence[SharedFile], uses: Sequence[Use], repository: str, licence: str, about: str
) -> str:
    """The text of the card.

    Args:
        folder: The staged folder; its run's record is read where there is one.
        files: What it holds.
        uses: What it is good for, with options that name `folder`.
        repository: Where it goes, `USER/NAME`, with `datasets/` in front for a data set.
        licence: One of `LICENCES`.
        about: What its author says of it; may be empty.

    Raises:
        ConfigError: The licence is not known.
        RunError: The run's record is damaged.
    """
    if licence not in LICENCES:
        raise ConfigError(f"--licence {licence}: expected one of {', '.join(LICENCES)}.")
    kind = uses[0].kind
    run = read_run(folder) if (folder / RUN_FILE).is_file() else {}
    head = ["---", f"license: {licence}", "library_name: gauntlet-drive", "tags:"]
    head += [f"- {tag}" for tag in ("gauntlet", "autonomous-driving", "metadrive", "simulation", kind)]
    name = repository.rpartition("/")[2]
    text = [
        *head,
        "---",
        f"# {name}",
        "",
        f"{TITLES[kind]} for the testing harness Gauntlet.",
        "",
    ]
    text += [ABOUT[kind], ""]
    if about:
        text += [markdown_text(one_line(about, 4000)), ""]
    text += ["## How to use it", "", "```sh", "pip install 'gauntlet-drive[hub]'"]
    text += [f"gauntlet pull {repository}@REVISION --out {name}", "```", ""]
    text += ["`REVISION` is a commit of this repository. The command prints these options:", ""]
    text += [f"- `{use.option.replace(str(folder), name)}`" for use in uses]
    text += ["", "## How it was made", "", *_making(run), "", "## Known limits", "", f"- {LIMITS[kind]}"]
    text += [f"- {line}" for line in data_lines(run)]
    text += ["", "## Files", "", "| file | bytes |", "|---|---|"]
    text += [f"| {markdown_text(file.path)} | {file.size:,} |" for file in files[:MAX_FILES_NAMED]]
    if len(files) > MAX_FILES_NAMED:
        text.append(f"| … and {len(files) - MAX_FILES_NAMED} more | {sum(file.size for file in files):,} in all |")
    text += ["", "Nothing here can run code: weights are safetensors, everything else is text.", ""]
    return "\n".join(text)


def data_lines(run: Json) -> list[str]:
    """What is to be known of the data behind a run; empty where they are procedural or not recorded."""
    data = _data_of(run.get("config", {}))
    if data in (None, PROCEDURAL):
        return []
    return [
        f"It was made with the scenes {markdown_text(one_line(str(data), 200))}. Their licence may forbid "
        "sharing what was learnt from them."
    ]


def _data_of(config: object) -> object:
    """The data of a run, which commands with groups of options keep within one."""
    if not isinstance(config, dict):
        return None
    if "data" in config and isinstance(config["data"], str):
        return config["data"]
    return next((found for value in config.values() if (found := _data_of(value)) is not None), None)


def _making(run: Json) -> list[str]:
    if not run:
        return ["The record of its making is not among its files."]
    made = run.get("provenance", {})
    versions = made.get("versions", {})
    command = made.get("command")
    words = [one_line(str(word), 200) for word in command[1:]] if isinstance(command, list) else []
    typed = " ".join(["gauntlet", one_line(str(run["verb"]), 60), *words])
    lines = ["```sh", typed.replace("`", "'"), "```", "", "| what | version |", "|---|---|"]
    lines += [
        f"| {markdown_text(one_line(str(name), 80))} | {markdown_text(one_line(str(v), 80))} |"
        for name, v in versions.items()
    ]
    lines.append(f"| commit | {markdown_text(one_line(str(made.get('commit')), 80))} |")
    lines.append(f"| begun | {markdown_text(one_line(str(made.get('started')), 80))} |")
    return [*lines, "", f"All options stand in `{RUN_FILE}`, key `config`."]
