"""Rows of RosettaSim's tables: what goes on with the sequence, what of it learns, and how it is decoded.

Paper: 'Long-term Traffic Simulation via Structured Autoregressive Modeling' (RosettaSim, Xiao et al. 2026). All rows
start from one scene encoder and are trained for as long; SMART itself too, so that none is better by having learnt
longer. Its language model here is SmolLM2, in the place of Qwen2.5 and Llama. Where the paper compares 8 s of realism
whose differences are smaller than its noise (tables 2 to 6, figures 5 and 7), rows are compared by the likelihood of
held-out logs.
"""

from __future__ import annotations

from typing import Final

from harness.traffic.papers.table import PaperRow, PaperStep, PaperTable

LAYERS: Final = 8
"""Layers of SmolLM2 in tables that are not about them: what a CPU can train."""
DEPTHS: Final = (4, 8, 16, 30)
"""Layers that are compared; SmolLM2 has 30."""
TEMPERATURES: Final = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Temperatures of the type head in the comparison of densities (appendix F.2 gives none)."""
EXPONENTS: Final = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Exponents of Zipf's law that motion tokens are drawn by (figure 7 gives none but 0)."""
TUNABLE: Final = {"none": "none", "last1": "last 1", "last5": "last 5", "all": "all"}
"""What of a language model learns, as table 2 has it."""

SMALL: Final = (PaperStep("rosetta"),)
"""RosettaSim with a small sequence model from scratch."""
SMART: Final = (PaperStep("bc", (("smoothing", 0.0),)),)
"""SMART, trained on for as long and by plain cross-entropy, as the others are."""
_SHORT: Final = "top_k=48"
"""The short-term setting of appendix D.3. Whole scenes of 8 s are simulated, which nobody enters or leaves."""


def language(layers: int = LAYERS, tunable: str = "last1", initial: str = "pretrained") -> tuple[PaperStep, ...]:
    """RosettaSim with the first layers of SmolLM2.

    Args:
        layers: How many.
        tunable: Which of them learn.
        initial: Whether they begin pretrained or `random`.
    """
    changes = {"sequence_model": "smollm2", "layers": layers, "tunable": tunable, "initial": initial}
    return (PaperStep("rosetta", tuple((f"rosetta.{name}", value) for name, value in changes.items())),)


def _tunable() -> tuple[PaperRow, ...]:
    """Table 2, and a small sequence model beside it."""
    rows = [PaperRow(label, language(tunable=tunable)) for tunable, label in TUNABLE.items()]
    return (*rows, PaperRow("small, from scratch", SMALL), PaperRow("SMART", SMART))


def _depths() -> tuple[PaperRow, ...]:
    """Tables 3 to 6: frozen, and with the last layer tuned."""
    return tuple(
        PaperRow(f"{layers} layers, {what}", language(layers, tunable), level=layers, series=what)
        for tunable, what in (("none", "frozen"), ("last1", "last layer tuned"))
        for layers in DEPTHS
    )


def _random() -> tuple[PaperRow, ...]:
    """Figure 5 tunes everything; here what is frozen is compared, too."""
    rows = [
        PaperRow(f"{initial}, tuned: {label}", language(tunable=tunable, initial=initial))
        for tunable, label in (("all", "all"), ("last1", "last 1"), ("none", "none"))
        for initial in ("random", "pretrained")
    ]
    return (*rows, PaperRow("small, from scratch", SMALL), PaperRow("SMART", SMART))


def _corruption() -> tuple[PaperRow, ...]:
    """Figure 7, with both kinds of sequence models."""
    rows = []
    for steps, name in ((SMALL, "small"), (language(tunable="none"), "SmolLM2, frozen")):
        (step,) = steps
        rows.append(PaperRow(f"{name}: as in the logs", steps))
        for exponent in EXPONENTS:
            drawn = (PaperStep(step.stage, (*step.changes, ("zipf", exponent))),)
            rows.append(PaperRow(f"{name}: Zipf, exponent {exponent:g}", drawn, level=exponent, series=name))
    return tuple(rows)


_MODELS: Final = (
    PaperRow("SMART", SMART),
    PaperRow("CAT-K", (PaperStep("catk"),)),
    PaperRow("InfGen-like", (PaperStep("infgen"),)),
    PaperRow("RosettaSim, small", SMALL),
    PaperRow("RosettaSim, SmolLM2", language()),
)
"""Tables 1, 7 and 9."""


def _short() -> tuple[PaperRow, ...]:
    return tuple(PaperRow(row.label, row.steps, _SHORT) for row in _MODELS)


def _density() -> tuple[PaperRow, ...]:
    """F.2: one model, decoded at several temperatures of its type head."""
    dials = [PaperRow("nobody enters", SMALL, "spawning=false")]
    for value in TEMPERATURES:
        dials.append(
            PaperRow(f"temperature {value:g}", SMALL, f"type_temperature={value:g}", level=value, series="small")
        )
    return tuple(dials)


def _heuristics() -> tuple[PaperRow, ...]:
    """F.7, and the removal of extremes alone; without removal at the boundary the paper's traffic only grows."""
    return (
        PaperRow("all heuristics", SMALL),
        PaperRow("without overlap → end", SMALL, "overlap_ends=false"),
        PaperRow("… and without centre lines", SMALL, "overlap_ends=false&snap=false"),
        PaperRow("without removal of extremes", SMALL, "extremes=false"),
    )


ROSETTA_TABLES: Final[dict[str, PaperTable]] = {
    "rosetta_tunable": PaperTable(
        "Layers of the language model that learn", "RosettaSim, table 2", _tunable(), measure="likelihood"
    ),
    "rosetta_depth": PaperTable(
        "Layers of the language model",
        "RosettaSim, tables 3 to 6",
        _depths(),
        measure="likelihood",
        axis="layers of SmolLM2",
    ),
    "rosetta_random": PaperTable("Pretrained or random", "RosettaSim, figure 5", _random(), measure="likelihood"),
    "rosetta_corruption": PaperTable(
        "Motion tokens drawn by Zipf's law",
        "RosettaSim, figure 7",
        _corruption(),
        measure="likelihood",
        axis="exponent of the law that training draws by",
    ),
    "rosetta_short": PaperTable("Nobody enters, 8 s", "RosettaSim, table 1", _short()),
    "rosetta_long": PaperTable("Traffic over minutes", "RosettaSim, tables 7 and 9", _MODELS, measure="longterm"),
    "rosetta_density": PaperTable(
        "Density by the type head's temperature",
        "RosettaSim, figure 10",
        _density(),
        measure="longterm",
        axis="temperature of the type head",
    ),
    "rosetta_heuristics": PaperTable(
        "Heuristics switched off", "RosettaSim, appendix F.7", _heuristics(), measure="longterm"
    ),
}
"""By the name that `traffic_tables --table` takes."""
