"""Tables of `sage_analysis`: the response to the intensity, and what the mixing strategies are worth."""

from __future__ import annotations

from typing import Final

from harness.files import Json
from harness.metrics.compliance import without_edges_note
from harness.metrics.intervals import Interval
from harness.report.merging_tables import ADVERSARIAL, ENDS, INTENSITY, merging_tables
from harness.report.tables import Column, Table, TableRow

_RESPONSE: Final = (
    Column.percent("success"),
    ADVERSARIAL,
    Column("kinematic", "P_kin", "mean", "penalty of motion that is not lifelike (eq. 12)"),
    Column("behavioural", "P_beh", "mean", "penalty of behaviour that is not lifelike (eq. 13)"),
    Column.percent("off_road", "off road"),
    Column.percent("contact", "hits traffic"),
)
_NOVELTY: Final = (
    Column("novelty", "weight of novelty", "number", digits=6, form="g"),
    Column("coverage", "coverage", "distance", digits=2, unit="bits"),
    Column("kinds", "kinds", "number"),
    *_RESPONSE,
)
_STRATEGIES: Final = (
    Column("mixing"),
    Column("hypervolume", kind="number"),
    Column("dominated", "λ at which weights are dominated by it"),
)
_DISTANCES: Final = (
    Column("acceleration", "acceleration", "distance", unit="m/s²"),
    Column("speed", "speed", "distance", unit="m/s"),
    Column("yaw_rate", "yaw rate", "distance", digits=4, unit="rad/s"),
)
_RULES: Final = {"equal": "lost by λ = μ", "matched": "lost by λ(μ)"}
_MEASURES: Final = {"sample": "one sample", "group": "group", "choice": "choice"}
_PLACES: Final = (0.2, 0.5, 0.8)
"""λ at which proposition 1 is shown."""


def _number(key: str, title: str, group: str = "", digits: int = 3) -> Column:
    return Column(key, title, "number", group=group, digits=digits)


_MU: Final = Column("preference", "μ", "number", "weight of R_adv beside P_real", digits=6, form="g")
_PREFERENCE: Final = (
    _MU,
    _number("coefficient", "λ(μ)"),
    *(
        _number(f"{kind}_{key}", title, kind)
        for kind in ("group", "choice")
        for key, title in {"best": "best λ", **_RULES}.items()
    ),
    _number("measured", "measured", "gap"),
    _number("theorem_2", "theorem 2", "gap"),
    _number("theorem_1", "bound of theorem 1", "gap"),
)
_SEPARATE: Final = (
    Column("name"),
    _MU,
    *(_number(f"{kind}_{key}", key, title) for kind, title in _MEASURES.items() for key in ("own", "mixture", "gap")),
)
_PROPOSITION: Final = (
    Column("ideal", "ideal of μ", "number", digits=6, form="g"),
    INTENSITY,
    _number("weights", "weights", digits=2),
    _number("outputs", "outputs", digits=2),
    _number("difference", "difference", digits=2),
    _number("curvature", "term 1: flatness", digits=2),
    _number("diversity", "term 2: diversity", digits=2),
    _number("predicted", "both terms", digits=2),
)
_SEGMENT: Final = (
    Column("of", ""),
    _number("first", "at λ = 0"),
    _number("last", "at λ = 1"),
    _number("shortfall", "worse than the straight line by"),
    _number("relative", "of the span"),
)
_BEYOND: Final = (
    Column("of", ""),
    _number("interpolated", "hypervolume between the experts"),
    _number("extrapolated", "with the grid"),
    Column("beaten", "points between that the grid beats", "number"),
    Column("points", "of", "number"),
)
_CANDIDATES: Final = (
    Column("candidates", "K", "number", "candidates of a plan"),
    _number("weights", "weights"),
    _number("logits", "logits"),
    _number("trajectories", "trajectories"),
    Column("same", "weights and logits choose the same, λ ¼, ½, ¾"),
)
_SAMPLES: Final = (Column("mixing"), INTENSITY, *ENDS, _number("apart", "total variation from weights"))
_PARTS: Final = (
    Column("of", "part"),
    Column("weights", "weights", "number"),
    Column("still", "tensors without a gradient", "number"),
    _number("gradient_adv", "adv", "gradient"),
    _number("gradient_real", "real", "gradient"),
    _number("adv", "Δ_adv", "length"),
    _number("real", "Δ_real", "length"),
    _number("adversarial_0", "λ = 0", "R_adv"),
    _number("adversarial_1", "λ = 1", "R_adv"),
    _number("realism_0", "λ = 0", "P_real"),
    _number("realism_1", "λ = 1", "P_real"),
)


def tables(result: Json) -> list[Table]:
    """The response to λ, what the strategies are worth, kinds of encounter, the theory, and parts of the network.

    Args:
        result: Result of `adversaries.sage.analysis.analyse`; intervals are lists of mean, low and high.
    """
    merged = merging_tables(result["merging"]) if result.get("merging") else []
    if "fronts" not in result:
        return merged
    return [*response_tables(result), novelty_table(result), *theory_tables(result), *mixing_tables(result), *merged]


def response_tables(result: Json) -> list[Table]:
    """The response to λ, distances from the log, and what the strategies are worth."""
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
                INTENSITY.number(row["intensity"]) for row in result["dominated"] if row["by"] == mixing
            )
            or "none",
        }
        for mixing, area in result["hypervolume"].items()
    ]
    title = f"sage against the logged ego, {result['scenes']} scenes (95 % intervals)"
    note = without_edges_note(result["without_edges"], result["scenes"], "leaving the road")
    apart: list[TableRow] = [
        {"intensity": float(row["intensity"]), **{column.key: Interval(*row[column.key]) for column in _DISTANCES}}
        for row in rows
    ]
    return [
        Table((INTENSITY, *_RESPONSE), response, title, note),
        Table((INTENSITY, *_DISTANCES), apart, "Wasserstein distances from the log of the same vehicles"),
        Table(_STRATEGIES, worth, "strategies"),
    ]


def novelty_table(result: Json) -> Table:
    """How evenly attacks cover the kinds of encounter, by weight of novelty."""
    rows: list[TableRow] = [
        {
            "novelty": row["novelty"],
            "kinds": row["kinds"],
            **{column.key: Interval(*row[column.key]) for column in (_NOVELTY[1], *_RESPONSE)},
        }
        for row in result["novelty"]
    ]
    note = "coverage is the entropy of the kinds of encounter among the hits: 0 of one kind, 4 of all 16 alike"
    return Table(_NOVELTY, rows, "novelty, λ = 1", note)


def theory_tables(result: Json) -> list[Table]:
    """What a preference asks for, separately trained networks, the segment, what lies beyond, and proposition 1."""
    found = result["theory"]
    rows: list[TableRow] = []
    for row, gap in zip(found["coefficients"], found["gaps"]["rows"], strict=True):
        parts = {f"{kind}_{key}": row[kind][key] for kind in ("group", "choice") for key in ("best", *_RULES)}
        rows.append({"preference": row["preference"], "coefficient": row["matched"], **parts, **gap})
    note = "a dash: rewards are not concave, and the theorem says nothing"
    shown = [Table(_PREFERENCE, rows, f"λ for a preference μ; experts aligned with w* = {found['weight']:g}", note)]
    separate: list[TableRow] = [
        {
            "name": row["name"],
            "preference": row["preference"],
            **{f"{kind}_{key}": row[kind][key] for kind in _MEASURES for key in ("own", "mixture", "gap")},
        }
        for row in found["gaps"]["separate"]
    ]
    if separate:
        shown.append(Table(_SEPARATE, separate, "R_μ of separately trained networks, and of the best mixture"))
    proposed: list[TableRow] = [
        {"ideal": float(mu), **row}
        for mu, rows in found["proposition"].items()
        for row in rows
        if any(abs(row["intensity"] - place) < 1e-9 for place in _PLACES)
    ]
    shown.append(Table(_PROPOSITION, proposed, "proposition 1: loss of weight and of output mixing, m²"))
    beyond: list[TableRow] = [
        {"of": name, **front["hypervolume"], "beaten": front["beaten"], "points": front["points"]}
        for name, front in result["beyond"].items()
    ]
    return [*shown, _segment_table(result["linearity"]), Table(_BEYOND, beyond, "beyond the segment: φ_adv, φ_real")]


def _segment_table(line: Json) -> Table:
    """Rewards and losses along the segment: their ends, and how far they leave the straight line."""
    parts = [(f"reward, {name}", line[name]) for name in ("adv", "even", "real")]
    parts += [(f"loss, {name}", line["losses"][name]) for name in ("adv", "real")]
    parts += [(f"loss, {name}, own pairs", line["own_losses"][name]) for name in ("adv", "real")]
    rows: list[TableRow] = [
        {
            "of": name,
            "first": one["measured"][0],
            "last": one["measured"][-1],
            "shortfall": one["shortfall"],
            "relative": one["relative"],
        }
        for name, one in parts
    ]
    return Table(_SEGMENT, rows, "along the segment")


def mixing_tables(result: Json) -> list[Table]:
    """Strategies by number of candidates, by single samples, and what each part of the network does."""
    worth: list[TableRow] = [
        {
            "candidates": one["candidates"],
            **one["hypervolume"],
            "same": ", ".join(f"{share:.0%}" for share in one["same"][1:-1]),
        }
        for one in result["candidates"]
    ]
    samples: list[TableRow] = [
        {
            "intensity": row["intensity"],
            "mixing": name,
            **{column.key: Interval(*row[column.key]) for column in ENDS},
            "apart": apart if name == "logits" else None,
        }
        for name in ("weights", "logits")
        for row, apart in zip(result["samples"][name], result["samples"]["apart"], strict=True)
    ]
    parts: list[TableRow] = []
    for row, other in zip(result["updated"]["adv"], result["updated"]["real"], strict=True):
        moved = result["parts"][row["part"]]
        ends = {f"{key}_{i}": moved[-i][key][0] for key in ("adversarial", "realism") for i in (0, 1)}
        gradients = {"gradient_adv": row["gradient"], "gradient_real": other["gradient"]}
        parts.append({**row, **gradients, **ends, "still": len(row["still"]), "of": row["part"]})
    own: list[TableRow] = [
        {
            "intensity": row["intensity"],
            "of": name,
            **{column.key: Interval(*row[column.key]) for column in _RESPONSE},
        }
        for name, rows in result["completions"].items()
        for row in rows
    ]
    apart = f"the experts are {result['samples']['experts']:.2f} apart"
    return [
        Table(_CANDIDATES, worth, "hypervolume of the strategies by number of candidates"),
        Table(_SAMPLES, samples, "one sample of the mixed policy", apart),
        Table(_PARTS, parts, "parts of the network: HGPO's gradient at the prior, and one sample with λ in this part"),
        Table((Column("of", "mixed"), INTENSITY, *_RESPONSE), own, "the goals' part, and the whole network"),
    ]


def remarks(result: Json) -> list[str]:
    """What no table holds: how monotone the response is, the vectors, and what the theorems take for granted."""
    if "monotone" not in result:
        return []
    rho = ", ".join(f"{key} {value:.2f}" for key, value in result["monotone"].items())
    found, gaps = result["vectors"], result["theory"]["gaps"]
    slopes, fits = gaps["gradients"], gaps["fits"]
    curved = "; ".join(
        _parabola(title, fits[name], gaps["peaks"][name]) for name, title in (("adv", "R_adv"), ("real", "-P_real"))
    )
    return [
        f"Spearman's ρ with λ: {rho}",
        f"Δ_adv {found['norm_adv']:.2f}, Δ_real {found['norm_real']:.2f} (prior {found['norm_reference']:.1f}), "
        f"angle {found['angle_degrees']:.0f}°; the experts are {gaps['distance']:.2f} apart",
        f"on the segment L is at least {gaps['smooth'][0]:.1f} (R_adv) and {gaps['smooth'][1]:.1f} (-P_real), "
        f"m at most {gaps['concave'][0]:.2f} and {gaps['concave'][1]:.2f}: theorem 1 needs m > 0",
        f"gradient of each expert's own reward, at the expert and at the prior: {slopes['adv_at_expert']:.2f} and "
        f"{slopes['adv_at_reference']:.2f} (adv), {slopes['real_at_expert']:.2f} and {slopes['real_at_reference']:.2f} "
        "(real); the theorems take it to be 0 at the expert",
        f"parabolas through the rewards of one sample: {curved}",
    ]


def _parabola(title: str, fit: Json, expected: float) -> str:
    """A reward along the segment: how it bends, and where theorem 2 expects its peak."""
    peak = f"peak at λ = {fit['peak']:.2f}" if fit["curvature"] > 0 else "no peak"
    return f"{title} curvature {fit['curvature']:.2f} per λ², {peak} ({expected:.3f} by theorem 2)"
