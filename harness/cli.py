"""The console script: `gauntlet <verb> …` is `python -m harness.<verb> …`."""

from __future__ import annotations

import importlib
import sys
from typing import Final

from rich.console import Console

from harness.errors import GauntletError, UnknownNameError

VERBS: Final[dict[str, str]] = {
    "train_ego": "train an ego under a curriculum of attacks; evaluate it on normal and attacked test scenes",
    "train_matrix": "egos against every adversary, over seeds and curricula; SAGE's tables 3 and 8",
    "attack": "attack one policy: success, realism and pictures of the attacks",
    "benchmark": "every adversary against every system under test: tables with intervals, resumable",
    "train_prior": "train the motion prior on a folder of scenes",
    "train_traffic": "train learned traffic (cloning, closed-loop and reinforcement stages), or build its tokens",
    "simulate": "roll scenes out with a traffic model: files, a fan of roll-outs, playback",
    "evaluate_traffic": "realism of traffic models by the sim-agents metrics (WOSAC), with intervals",
    "train_experts": "align SAGE's experts (and the ablations) from one motion prior",
    "train_seal": "learn SEAL's scorers and skills from simulated drives against every candidate",
    "sage_analysis": "fronts, preference vectors, reward landscape and extrapolation of SAGE's experts",
    "scenarios": "list, import, generate, validate and draw scenes",
    "perf": "throughput and latency against stock MetaDrive, as ratios from one run",
    "doctor": "what is installed, what is missing, what to do about it",
}
"""Every command with what it does."""


def main() -> None:
    """Run the verb in `sys.argv[1]`; a `GauntletError` becomes one line and exit code 2."""
    console = Console(stderr=True)
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        console.print("usage: gauntlet VERB [options]   (gauntlet VERB --help explains the options)\n")
        for verb, purpose in VERBS.items():
            console.print(f"  [bold]{verb:14}[/] {purpose}")
        sys.exit(0 if arguments else 2)
    try:
        if arguments[0] not in VERBS:
            raise UnknownNameError("verb", arguments[0], VERBS)
        sys.argv = [f"gauntlet {arguments[0]}", *arguments[1:]]
        # Imported under its own name, not run as `__main__`: option types are looked up in the module that holds them.
        importlib.import_module(f"harness.{arguments[0]}").main(arguments[1:])
    except GauntletError as error:
        console.print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
