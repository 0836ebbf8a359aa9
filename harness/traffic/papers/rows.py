"""Rows of the papers' tables of traffic: what each is trained by, from one shared base, and how it is decoded.

Papers: 'Closest Among Top-K' (CAT-K, Zhang et al. 2025), 'Advancing Multi-agent Traffic Simulation via R1-style
Reinforcement Fine-tuning' (SMART-R1, Pei et al. 2026), 'Post-Training and Test-Time Scaling of Generative Agent
Behavior Models' (GRBO and Warm-K, Seong et al. 2025; abstract only, so its rows are our reading of it). Those of
RosettaSim are in `harness.traffic.papers.rosetta_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from harness.traffic.papers.rosetta_rows import ROSETTA_TABLES
from harness.traffic.papers.table import PaperRow, PaperStep, PaperTable
from harness.traffic.training.config import PUBLISHED, ReinforcementOptions

TOP_K: Final = (5, 32)
"""Numbers of candidates of CAT-K's table 5 that are compared here."""


def _k(stage: str, k: int) -> tuple[PaperStep, ...]:
    return (PaperStep(stage, (("k", k),)),)


def _supplement() -> tuple[PaperRow, ...]:
    """CAT-K's table 5 at five and 32 candidates."""
    named = (
        ("CAT-{k}", "catk"),
        ("Trajeglish's noisy tokenization, K = {k}, neg. dist.", "noisy_tokens"),
        ("Trajeglish's noisy tokenization, K = {k}, uniform", "noisy_tokens_uniform"),
        ("SMART's trajectory perturbation, K = {k}, neg. dist.", "perturbation"),
        ("SMART's trajectory perturbation, K = {k}, uniform", "perturbation_uniform"),
        ("top-{k}", "top_k"),
        ("top-{k} + distance filter", "top_k_filter"),
        ("top-{k} + distance based sampling", "top_k_distance"),
        ("Trajeglish top-{k}, sampled w/ policy prob.", "noisy_tokens_policy"),
        ("SMART top-{k}, sampled w/ policy prob.", "perturbation_policy"),
    )
    rows = [PaperRow(label.format(k=k), _k(stage, k)) for label, stage in named for k in TOP_K]
    return (PaperRow("BC pre-training"), *rows)


def _egos() -> tuple[PaperRow, ...]:
    """CAT-K's table 6: the mixture policy, rolled out by the mean of its most probable component."""
    steps: list[tuple[str, tuple[PaperStep, ...]]] = [
        ("BC pre-training", ()),
        ("BC fine-tuning w/ hard-assignment", (PaperStep("gmm_hard"),)),
        ("Trajeglish noisy tokenization (K = 3, neg. dist., GT)", _k("gmm_noisy_tokens", 3)),
        ("SMART trajectory perturbation (K = 3, uniform, RO)", _k("gmm_perturbation", 3)),
        ("top-3", _k("gmm_top_k", 3)),
        ("top-3 + distance filter", _k("gmm_top_k_filter", 3)),
        ("top-3 + distance based sampling", _k("gmm_top_k_distance", 3)),
        *((f"CAT-{k}", _k("gmm_catk", k)) for k in (1, 2, 3, 4, 8)),
    ]
    drawn = [PaperRow(f"{label}, top-3 drawn", row, "top_k=3") for label, row in (steps[0], steps[9])]
    return (*(PaperRow(label, row, "temperature=0") for label, row in steps), *drawn)


_SFT: Final = PaperStep("catk")
_RFT: Final = PaperStep("mpo")


def _mpo(wanted: ReinforcementOptions = PUBLISHED) -> PaperStep:
    """MPO with these numbers; by default as SMART-R1 §3.3 has it."""
    default = ReinforcementOptions()
    values = [(item.name, getattr(wanted, item.name)) for item in fields(wanted)]
    return PaperStep("mpo", tuple((f"rl.{name}", value) for name, value in values if value != getattr(default, name)))


def _grbo() -> tuple[PaperRow, ...]:
    """GRBO on a tenth of the scenes and on all, Warm-K, and both with several roll-outs to choose from."""
    tenth, full = (PaperStep("grbo", share=share) for share in (0.1, 1.0))
    rows = [PaperRow("base"), PaperRow("GRBO, a tenth of the scenes", (tenth,)), PaperRow("GRBO, all scenes", (full,))]
    for steps, label in (((), "base"), ((full,), "GRBO")):
        for method, name in (("top_k", "top-K"), ("warm_k", "Warm-K")):
            for choices in (1, 2, 4, 8):
                if (method, choices) == ("top_k", 1):
                    continue
                decoding = f"method={method}" + (f"&choices={choices}&rule=overlaps" if choices > 1 else "")
                several = f", the best of {choices}" if choices > 1 else ""
                rows.append(PaperRow(f"{label}, {name}{several}", steps, decoding))
    return tuple(rows)


def _many(rows: Mapping[str, ReinforcementOptions]) -> tuple[PaperRow, ...]:
    """Closed-loop fine-tuning, then MPO after it with other numbers."""
    return (PaperRow("SFT", (_SFT,)), *(PaperRow(label, (_SFT, _mpo(wanted))) for label, wanted in rows.items()))


TABLES: Final[dict[str, PaperTable]] = {
    "catk": PaperTable("Ways to fine-tune the same base", "CAT-K, table 5", _supplement()),
    "ego": PaperTable("Mixture policies, open loop and closed loop", "CAT-K, table 6", _egos(), "gmm"),
    "r1": PaperTable(
        "Fine-tuning and reinforcement in turn",
        "SMART-R1, tables 2 and 3",
        (
            PaperRow("base"),
            PaperRow("SFT", (_SFT,)),
            PaperRow("SFT-SFT", (_SFT, _SFT)),
            PaperRow("RFT", (_RFT,)),
            PaperRow("SFT-RFT", (_SFT, _RFT)),
            PaperRow("SFT-RFT-SFT", (_SFT, _RFT, _SFT)),
        ),
    ),
    "policies": PaperTable(
        "Methods of reinforcement",
        "SMART-R1, table 4",
        (
            PaperRow("SFT", (_SFT,)),
            *(PaperRow(name, (_SFT, PaperStep(name.lower()))) for name in ("PPO", "DPO", "GRPO", "MPO", "GRBO")),
            PaperRow("MPO as published", (_SFT, _mpo())),
        ),
    ),
    "alpha": PaperTable(
        "MPO's threshold",
        "SMART-R1, table 5",
        _many(
            {
                **{f"α = {value}": replace(PUBLISHED, threshold=value) for value in (0.76, 0.77, 0.78)},
                # 0.77 was about the mean reward of the paper's model; that of another model is another.
                "α = mean reward so far": replace(PUBLISHED, threshold=0.0),
            }
        ),
    ),
    "beta": PaperTable(
        "Weight of the divergence from the start",
        "SMART-R1, table 6",
        _many({f"β = {value}": replace(PUBLISHED, beta=value) for value in (0.004, 0.04, 0.4)}),
    ),
    "grbo": PaperTable("GRBO, Warm-K and choosing among roll-outs", "Seong et al. 2025 (abstract)", _grbo()),
    "shield": PaperTable(
        "What the shield teaches",
        "ours",
        (
            PaperRow("base"),
            PaperRow("distilled", (PaperStep("distil"),)),
            PaperRow("SFT, distilled", (_SFT, PaperStep("distil"))),
            PaperRow("GRBO, distilled", (PaperStep("grbo"), PaperStep("distil"))),
        ),
    ),
    **ROSETTA_TABLES,
}
"""By the name that `traffic_tables --table` takes."""
