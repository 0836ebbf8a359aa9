"""Tables of `traffic_analysis`: how frequencies follow Zipf's law, and where a sequence model looks."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from harness.files import Json
from harness.metrics.intervals import Interval
from harness.report.tables import Column, Table, Value

_FREQUENCIES: Final = (
    Column("name", "tokens of"),
    Column("tokens", "number", "number", digits=0),
    Column("types", "different ones", "number", digits=0),
    Column("exponent", "exponent (likelihood)", "number", digits=2),
    Column("ks", "KS", "number", digits=2, about="largest distance of the cumulative frequencies, 0 to 1"),
    Column("slope", "exponent (line)", "number", digits=2, about="of log frequency over log rank"),
    Column("r2", "R² of the line", "number", digits=3),
    Column("top", "share of the most frequent", "number", digits=3),
)
_LOCAL: Final = "given to itself and to the token before"


def frequency_tables(result: Json) -> list[Table]:
    """One row per kind of tokens.

    Args:
        result: Result of `harness.traffic.analysis.results.frequency_result`.
    """
    rows: list[dict[str, Value]] = [
        {"name": name, **{key: row[key] for key in ("tokens", "types", "exponent", "ks", "slope", "r2", "top")}}
        for name, row in result["rows"].items()
    ]
    caption = "moving: without the token that moves least"
    return [Table(_FREQUENCIES, rows, f"Zipf's law: motion tokens of {result['scenes']} scenes, and words", caption)]


def attention_tables(result: Json) -> list[Table]:
    """Per model: locality by layer, attention by distance, and attention between the parts of the sequence.

    Args:
        result: Result of `harness.traffic.analysis.results.attention_result`.
    """
    return [table for name, model in result["models"].items() for table in _model(name, model, result["distances"])]


def _model(name: str, model: Json, distances: list[int]) -> list[Table]:
    parts = list(model["distance"])
    locality: list[dict[str, Value]] = [
        {
            "layer": str(number),
            "locality": Interval(*(layer["locality"][end] for end in Interval._fields)),
            **{part: layer[part] for part in parts},
        }
        for number, layer in enumerate(model["layers"], 1)
    ]
    layers = (
        Column("layer"),
        Column("locality", "all", "mean"),
        *(Column(part, kind="number", digits=3) for part in parts),
    )
    ends = [f"{begin}" if end - begin == 1 else f"{begin} – {end - 1}" for begin, end in pairwise(distances)]
    bins = [*ends, f"{distances[-1]} and more"]
    away: list[dict[str, Value]] = [
        {"part": part, **dict(zip(bins, shares, strict=True))} for part, shares in model["distance"].items()
    ]
    targets = [key for key in next(iter(model["between"].values())) if any(r[key] for r in model["between"].values())]
    between: list[dict[str, Value]] = [{"part": part, **row} for part, row in model["between"].items()]
    count = f"{len(model['scenes'])} scenes"
    return [
        Table(
            layers,
            locality,
            f"{name}: attention {_LOCAL}, by layer and by the part that looks, {count}",
            f"even attention would give {model['even']:.3f}; 95 % bootstrap intervals over scenes",
        ),
        Table(
            (Column("part", "who looks"), *(Column(key, kind="number", digits=3) for key in bins)),
            away,
            f"{name}: attention by distance in tokens, mean over layers",
        ),
        Table(
            (Column("part", "who looks"), *(Column(key, f"at {key}", "number", digits=3) for key in targets)),
            between,
            f"{name}: attention between parts of the sequence, mean over layers",
        ),
    ]
