"""Make a submission of a benchmark, and a page of submissions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from harness.commands.scaffold import BAD_INPUT, Group, Session, command
from harness.errors import ConfigError


@dataclass(frozen=True)
class SubmitConfig:
    """Which system of which benchmark, and who stands for it."""

    run: tyro.conf.Positional[Path]
    """Run folder of a finished `benchmark`."""
    sut: str
    """Label of the system in that run."""
    authors: tuple[str, ...]
    """Who made the system."""
    kind: Literal["learned", "rules", "planner", "replay", "other"]
    """What drives it."""
    link: str | None = None
    """Where to read of it: an address that begins with https://."""
    name: str | None = None
    """What it is called; its label by default."""
    out: Path | None = None
    """File to write; by default `NAME.json`."""


@dataclass(frozen=True)
class BoardConfig:
    """Which submissions, and where the page goes."""

    submissions: tyro.conf.Positional[tuple[Path, ...]]
    """Files of submissions. The first one says what the others must have in common with it."""
    html: Path = Path("leaderboard.html")
    """Page to write."""


@command(SubmitConfig, "Make a submission of one system of a benchmark.")
def submit(config: SubmitConfig, session: Session) -> None:
    """Write the file."""
    from harness.files import file_name, write_json
    from harness.sharing.submissions import compose, faults_of

    name = config.name or config.sut
    header = {"name": name, "authors": list(config.authors), "link": config.link, "kind": config.kind}
    content = compose(config.run, config.sut, header)
    if faults := faults_of(content):
        raise ConfigError(f"this makes no submission: {faults[0]}")
    out = config.out or Path(f"{file_name(name)}.json")
    write_json(out, content)
    session.say(f"submission: {out}")


@command(BoardConfig, "Check submissions and write the page; 2 where a file is faulty, 1 where one is not comparable.")
def page(config: BoardConfig, session: Session) -> int:
    """Say every fault; write the page where there is none."""
    from harness.report.leaderboard_page import standings, write_leaderboard
    from harness.sharing.submissions import read_submission

    if not config.submissions:
        raise ConfigError("leaderboard page: name one or more files of submissions.")
    read = [read_submission(file) for file in config.submissions]
    faults = [fault for _, found in read for fault in found]
    for fault in faults:
        session.warn(fault)
    if faults:
        return BAD_INPUT
    found = standings([item for item, _ in read if item is not None])
    write_leaderboard(config.html, found)
    session.say(f"page: {config.html}, {len(found.entries)} systems")
    for name, reasons in found.refused:
        session.warn(f"{name} is not compared: {reasons}")
    return 1 if found.refused else 0


main = Group("leaderboard", __doc__, {"submit": submit, "page": page})

if __name__ == "__main__":
    main()
