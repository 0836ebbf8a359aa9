"""The console script: `gauntlet VERB …` is `python -m harness.VERB …`."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.commands.scaffold import BAD_INPUT, Session, reported
from harness.errors import UnknownNameError

VERBS: Final = (
    "train_ego",
    "train_matrix",
    "attack",
    "benchmark",
    "compare",
    "train_prior",
    "train_traffic",
    "simulate",
    "evaluate_traffic",
    "evaluate_longterm",
    "traffic_tables",
    "traffic_analysis",
    "train_experts",
    "train_seal",
    "sage_analysis",
    "scenarios",
    "reproduce",
    "leaderboard",
    "push",
    "pull",
    "perf",
    "doctor",
)
"""Every command: a module beside this one with a function `main` of the arguments."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the verb that the first argument names, or list the verbs."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        _find_modules_here()
    session = Session("gauntlet")
    with reported(session):
        if not arguments or arguments[0] in ("-h", "--help"):
            session.say("usage: gauntlet VERB [options]   (gauntlet VERB --help explains the options)\n")
            for verb in VERBS:
                session.say(f"  {verb:18}{purpose(verb)}")
            sys.exit(0 if arguments else BAD_INPUT)
        if arguments[0] not in VERBS:
            raise UnknownNameError("verb", arguments[0], VERBS)
    # Imported under its own name, not run as `__main__`: option types are looked up in the module that holds them.
    importlib.import_module(f"harness.{arguments[0]}").main(arguments[1:])


def _find_modules_here() -> None:
    """Let a script find modules of the working folder as `python -m` does, after everything that is installed."""
    here = os.getcwd()
    if not sys.flags.safe_path and not {"", here} & set(sys.path):
        sys.path.append(here)


def purpose(verb: str) -> str:
    """What a verb is for: the first line of its module, which is read and not imported."""
    document = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{verb}.py").read_text(encoding="utf-8")))
    return (document or "").partition("\n")[0]


if __name__ == "__main__":
    main()
