"""Rows of RosettaSim's tables: what goes on with the sequence, what of it learns, and how it is decoded.

Paper: 'Long-term Traffic Simulation via Structured Autoregressive Modeling' (RosettaSim, Xiao et al. 2026). All rows
start from one scene encoder and are trained for as long; SMART itself too, so that none is better by having learnt
longer. Where the paper compares 8 s of realism
whose differences are smaller than its noise (tables 2 to 6, figures 5 and 7), rows are compared by the likelihood of
held-out logs.
"""

from __future__ import annotations

from typing import Final

from harness.traffic.papers.table import PaperRow, PaperStep, PaperTable

TEMPERATURES: Final = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Temperatures of the type head in the comparison of densities (appendix F.2 gives none)."""
EXPONENTS: Final = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Exponents of Zipf's law that motion tokens are drawn by (figure 7 gives none but 0)."""

SMALL: Final = (PaperStep("rosetta"),)
"""RosettaSim with a small sequence model from scratch."""
SMART: Final = (PaperStep("bc", (("smoothing", 0.0),)),)
"""SMART, trained on for as long and by plain cross-entropy, as the others are."""
_SHORT: Final = "top_k=48"
"""The short-term setting of appendix D.3. In 8 s nobody enters or leaves SMART's and RosettaSim's traffic."""
_SHORT_INFGEN: Final = f"{_SHORT}&spawning=false&leaving=false&boundary=false"
"""The same for traffic that has to be told so."""


def _corruption() -> tuple[PaperRow, ...]:
    """Figure 7."""
    (step,) = SMALL
    rows = [PaperRow("as in the logs", SMALL)]
    for exponent in EXPONENTS:
        drawn = (PaperStep(step.stage, (*step.changes, ("zipf", exponent))),)
        rows.append(PaperRow(f"Zipf, exponent {exponent:g}", drawn, level=exponent, series="small"))
    return tuple(rows)


_MODELS: Final = (
    PaperRow("SMART", SMART),
    PaperRow("CAT-K", (PaperStep("catk"),)),
    PaperRow("InfGen-like", (PaperStep("infgen"),)),
    PaperRow("RosettaSim, small", SMALL),
)
"""Tables 1, 7 and 9."""


def _short() -> tuple[PaperRow, ...]:
    return tuple(
        PaperRow(row.label, row.steps, _SHORT_INFGEN if row.steps[-1].stage == "infgen" else _SHORT) for row in _MODELS
    )


def _density() -> tuple[PaperRow, ...]:
    """F.2: one model, decoded at several temperatures of its type head."""
    dials = [PaperRow("nobody enters", SMALL, "spawning=false")]
    for value in TEMPERATURES:
        dials.append(
            PaperRow(f"temperature {value:g}", SMALL, f"type_temperature={value:g}", level=value, series="small")
        )
    return tuple(dials)


def _heuristics() -> tuple[PaperRow, ...]:
    """F.7, and the two kinds of removal that the paper does not tell apart."""
    return (
        PaperRow("all heuristics", SMALL),
        PaperRow("without overlap → end", SMALL, "overlap_ends=false"),
        PaperRow("… and without centre lines", SMALL, "overlap_ends=false&snap=false"),
        PaperRow("without removal of extremes", SMALL, "extremes=false"),
    )


ROSETTA_TABLES: Final[dict[str, PaperTable]] = {
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
