"""Gauntlet in a few calls: environments, attacks, benchmarks and training, from Python.

    import gauntlet

    env = gauntlet.make("Adversary-v0", adversary="cat")
    run = gauntlet.benchmark(sut=MyPolicy, adversary=["cat", "sage"], scenes="4")
    print(run.rows[0], run.folder)

Everything else is a command (`gauntlet --help`). The packages `harness`, `adversaries`, `ego_policies`, `curricula` and
`scenarios` come with it.
"""

from pathlib import Path

import harness

if Path(harness.__file__ or "").resolve().parents[1] != Path(__file__).resolve().parents[1]:
    raise ImportError(
        f"expected Gauntlet's package 'harness' beside {Path(__file__).parent}, found another one: {harness.__file__}. "
        "It comes first on the module search path. Run from another folder, rename it, or take it out of PYTHONPATH."
    )

from gauntlet.calls import attack, benchmark, make, make_vec, train
from gauntlet.outcome import Run

__all__ = ["Run", "attack", "benchmark", "make", "make_vec", "train"]
