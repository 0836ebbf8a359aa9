"""Two pages of the documentation site: weights that come with the package, and the leaderboard."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from safetensors import safe_open

from harness.errors import ConfigError
from harness.files import MEGABYTE
from harness.report.leaderboard_page import Standings, leaderboard_table, standings, write_leaderboard
from harness.sharing.recognition import TITLES, ShareKind, Use, recognise
from harness.sharing.submissions import read_submission
from scripts.docs_pages import PACKAGES, ROOT
from scripts.docs_text import table_row

BOARD: Final = "board.html"
"""The page of the leaderboard that stands alone, beside the one of the site."""
SUBMISSIONS: Final = ROOT / "docs" / "leaderboard"
FIRST: Final = "idm"
"""The submission whose terms are those of the leaderboard."""
_NAMED: Final[dict[ShareKind, str]] = {"prior": "`--prior`, by default", "skills": "`--adversary seal`"}
"""How weights are named that are used where no file is given, for kinds whose option does not say."""


def weights_folders() -> list[Path]:
    """Folders of shipped weights: those in which a README.md says how they were made."""
    found = [path.parent for package in PACKAGES for path in (ROOT / package).rglob("README.md")]
    return sorted(folder for folder in found if any(folder.glob("*.safetensors")))


def zoo_page() -> str:
    """Every shipped file of weights in one table, and the card that lies beside it."""
    text = ["# Zoo\n", "These weights come with the package. All were learnt on procedural scenes alone.\n"]
    text.append("Drivers and attackers without weights are on the pages of cards.\n")
    text.append("| what | file | parameters | MB | named by |\n|---|---|---|---|---|")
    text += [row for folder in weights_folders() for row in weights_rows(folder)]
    for folder in weights_folders():
        text.append(f"\n{demoted((folder / 'README.md').read_text(encoding='utf-8'), folder)}")
        text.append(f"The files lie in `{folder.relative_to(ROOT).as_posix()}/`.\n")
    return "\n".join(text)


def weights_rows(folder: Path) -> Iterator[str]:
    """A row for each file of weights of a folder; experts are named by their folder."""
    uses = recognise(folder)
    for file in sorted(folder.glob("*.safetensors")):
        own = next((use for use in uses if str(file) in use.option), uses[0])
        # A model beside experts is theirs: no other option takes it unless its file is named.
        shown = named(uses[0] if uses[0].kind == "experts" else own)
        megabytes = f"{file.stat().st_size / MEGABYTE:.1f}"
        yield table_row(TITLES[own.kind], f"`{file.name}`", f"{parameters(file):,}", megabytes, shown)


def named(use: Use) -> str:
    """How a shipped thing is typed: the option without the file, which is the default."""
    return _NAMED.get(use.kind) or f"`{re.sub(r':.*', '', use.option)}`"


def parameters(file: Path) -> int:
    """Numbers in all tensors of a file."""
    with safe_open(file, framework="np") as reader:
        return sum(math.prod(reader.get_slice(name).get_shape()) for name in reader.keys())


def demoted(markdown: str, folder: Path) -> str:
    """A README with its headings one level down; a folder's name where it has none."""
    if not markdown.startswith("# "):
        markdown = f"# Weights of the {folder.parent.name} of the traffic\n\n{markdown}"
    return re.sub(r"^#", "##", markdown, flags=re.M)


def our_standings() -> Standings:
    """The submissions of `docs/leaderboard`, all of which must be in order and comparable.

    Raises:
        ConfigError: One is not; says which and why.
    """
    files = sorted(SUBMISSIONS.glob("*.json"), key=lambda file: (file.stem != FIRST, file.name))
    read = [read_submission(file) for file in files]
    found = standings([item for item, _ in read if item is not None])
    faults = [fault for _, own in read for fault in own]
    if faults or found.refused:
        raise ConfigError("; ".join([*faults, *(f"{name}: {why}" for name, why in found.refused)]))
    return found


def leaderboard_page(found: Standings) -> str:
    """The table of the leaderboard, its terms, and where the page that can be sorted is."""
    text = ["# Leaderboard\n", f"[The page that can be sorted]({BOARD}) has all columns.\n"]
    text.append("Smaller is better for hits. A system that stands still is hard to hit: read them beside completion.")
    text.append("Systems whose intervals overlap are not told apart.\n")
    text += [*leaderboard_table(found).markdown(), "", "All systems have in common:\n", "| what | value |", "|---|---|"]
    text += [table_row(name, value) for name, value in found.entries[0].terms().items()]
    text.append("\n[Share](../share.md) says how a system of your own gets here.\n")
    return "\n".join(text)


def write_board(path: Path, found: Standings) -> None:
    """Write the page that can be sorted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_leaderboard(path, found)
