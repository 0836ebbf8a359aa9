"""Make a headline table of the documentation anew: `attacks`, `egos` or `traffic`, by one command.

It is a call of another command, which is printed first; `--scale small` shows in minutes that everything works, with
numbers that mean nothing. A run that is stopped is gone on with by that command's own `--resume`, where it has one.
"""

from __future__ import annotations

import importlib
import shlex
from dataclasses import dataclass

import tyro

from harness.commands.headline import TABLES, Scale, TableName
from harness.commands.options import Data, OutOption
from harness.commands.runs import default_folder
from harness.commands.scaffold import Session, command
from scenarios.sources import PROCEDURAL


@dataclass(frozen=True)
class ReproduceConfig(OutOption):
    """Which table, on which scenes."""

    table: tyro.conf.Positional[TableName] = "attacks"
    """`attacks`: adversaries × systems under test. `egos`: egos trained against each adversary. `traffic`: realism of
    simulated traffic."""
    data: Data = PROCEDURAL
    scale: Scale = "full"
    """`full`, as in the documentation (hours on two cores for `egos`, minutes for the others), or `small`."""
    dry_run: bool = False
    """Only print the command."""


@command(ReproduceConfig, __doc__)
def main(config: ReproduceConfig, session: Session) -> None:
    """Print the command, and run it."""
    out = config.out or default_folder(f"reproduce-{config.table}")
    table = TABLES[config.table]
    verb, *arguments = table.command(config.data, out, config.scale)
    session.say(f"gauntlet {shlex.join([verb, *arguments])}")
    if not config.dry_run:
        (out if table.file else out.parent).mkdir(parents=True, exist_ok=True)
        importlib.import_module(f"harness.{verb}").main(arguments)


if __name__ == "__main__":
    main()
