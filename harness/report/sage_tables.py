"""Tables of `sage_analysis`: the response to the intensity, and what the mixing strategies are worth."""

from __future__ import annotations

from typing import Final

from harness.files import Json
from harness.metrics.compliance import without_edges_note
from harness.metrics.intervals import Interval
from harness.report.tables import Column, Table, TableRow

_INTENSITY: Final = Column("intensity", "λ", "number", digits=6, form="g")
_RESPONSE: Final = (
    Column.percent("success"),
    Column("adversarial", "R_adv", "mean"),
    Column("kinematic", "P_kin", "mean"),
    Column("behavioural", "P_beh", "mean"),
    Column.percent("off_road", "off road"),
    Column.percent("contact", "hits traffic"),
)
_STRATEGIES: Final = (
    Column("mixing"),
    Column("hypervolume", kind="number"),
    Column("dominated", "λ at which weights are dominated by it"),
)


def tables(result: Json) -> list[Table]:
    """The response to λ, and what the strategies are worth.

    Args:
        result: Result of `adversaries.sage.analysis.analyse`; intervals are lists of mean, low and high.
    """
    rows = sorted([*result["fronts"]["weights"], *result["extrapolation"]["vector"]], key=lambda row: row["intensity"])
    response: list[TableRow] = [
        {"intensity": float(row["intensity"]), **{column.key: Interval(*row[column.key]) for column in _RESPONSE}}
        for row in rows
    ]
    worth = [
        {
            "mixing": mixing,
            "hypervolume": area,
            "dominated": ", ".join(
                _INTENSITY.number(row["intensity"]) for row in result["dominated"] if row["by"] == mixing
            )
            or "none",
        }
        for mixing, area in result["hypervolume"].items()
    ]
    title = f"sage against the logged ego, {result['scenes']} scenes (95 % intervals)"
    note = without_edges_note(result["without_edges"], result["scenes"], "leaving the road")
    return [Table((_INTENSITY, *_RESPONSE), response, title, note), Table(_STRATEGIES, worth, "strategies")]


def remarks(result: Json) -> list[str]:
    """What no table holds: how monotone the response is, and lengths and angle of the preference vectors."""
    rho = ", ".join(f"{key} {value:.2f}" for key, value in result["monotone"].items())
    found = result["vectors"]
    return [
        f"Spearman's ρ with λ: {rho}",
        f"Δ_adv {found['norm_adv']:.2f}, Δ_real {found['norm_real']:.2f} (prior {found['norm_reference']:.1f}), "
        f"angle {found['angle_degrees']:.0f}°",
    ]
