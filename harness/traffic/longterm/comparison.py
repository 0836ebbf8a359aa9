"""What `evaluate_longterm` does: builds the models, rolls out, scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import torch

from harness.commands.runs import provenance
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.longterm.engines import load_vae
from harness.traffic.longterm.evaluation import LOG, references_used, run_long, score_long
from harness.traffic.make import make_traffic
from scenarios.scenario import Scenario


def compare_long(config: EvaluateLongtermConfig, scenes: Iterable[Scenario]) -> dict[str, object]:
    """Compare models as `config` says.

    Args:
        config: What to compare, and how; `scenes` are those that it names.
        scenes: Loaded one at a time.

    Returns:
        What the JSON file of `evaluate_longterm` holds.

    Raises:
        ConfigError: A model cannot be built, or no scene can be used.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    policies = {name: make_traffic(name, config.observer) for name in config.traffic if name != LOG}
    run = run_long(policies, scenes, config, load_vae(config.retrieval))
    scores = score_long(run, config)
    return {
        "settings": asdict(config),
        "provenance": provenance(),
        "scenes": run.scenes,
        "windows": [int(judged.sum()) for judged in run.judged],
        "left_out": run.left_out,
        "without_edges": run.without_edges,
        "references": references_used(run, config),
        "models": scores,
    }
