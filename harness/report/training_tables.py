"""Tables of training: evaluations of an ego, and what the networks of priors, experts and scorers have learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from harness.files import Json, JsonDict, write_json, write_text
from harness.report.tables import Column, Table, TableRow
from harness.training.evaluation import BESIDE, COLUMNS, EXTRA_COLUMNS, Summary

_EVALUATION: Final = (
    Column("step", kind="number"),
    Column("test_scenes", "test scenes"),
    Column("scenes", "n", "number"),
    Column("failed", kind="number"),
    *COLUMNS,
    *BESIDE,
)
_EXPERTS: Final = {
    "adversarial": "R_adv",
    "realism": "P_real",
    "reward": "R_pref",
    "chosen_reward": "R_pref of the choice",
    "success": "contacts of the choice",
}
"""What is told of every expert, with heads; see `adversaries.sage.alignment.summary`."""
_FEASIBILITY: Final = {
    "feasible": "group, as drawn",
    "top_feasible": "plain likeliest (paper)",
    "expected_feasible": "one sample",
}
"""Shares of feasible futures, with heads; see `adversaries.sage.alignment.listed_feasibility`."""
_CURVE: Final = tuple(Column(key) for key in ("step", "stage", "horizon", "scenes", "failed", "attacked"))


def evaluation_table(summaries: Sequence[Summary], title: str) -> Table:
    """The papers' six columns and those beside them, with the step."""
    return Table(_EVALUATION, [_row(summary) for summary in summaries], title)


def terminal_table(summaries: Sequence[Summary], title: str) -> Table:
    """The same with its counts in one head, to be turned on its side so that 80 characters suffice."""
    caption = "means over scenes with 95 % bootstrap intervals"
    return Table((Column("head", ""), *COLUMNS, *BESIDE), [_row(summary) for summary in summaries], title, caption)


def _row(summary: Summary) -> TableRow:
    failed = f", {summary.failed} failed" if summary.failed else ""
    return {
        "step": summary.step,
        "stage": summary.stage,
        "horizon": summary.horizon,
        "scenes": summary.scenes,
        "failed": summary.failed,
        "attacked": summary.attacked,
        "test_scenes": summary.place,
        "head": f"{summary.place} (n = {summary.scenes}{failed})",
        **summary.columns,
    }


def write_tables(folder: Path, summaries: Sequence[Summary], title: str, about: Mapping[str, object]) -> None:
    """Write `results.md` (the last evaluation), `curve.csv` (all) and `results.json` (all, with `about`).

    Raises:
        RunError: The folder cannot be written.
    """
    last = [row for row in summaries if row.step == summaries[-1].step] if summaries else []
    lines = [f"# {title}", "", *evaluation_table(last, title).markdown(), ""]
    write_text(folder / "results.md", "\n".join([*lines, "Means over scenes with 95 % bootstrap intervals.", ""]))
    curve = Table((*_CURVE, *COLUMNS, *EXTRA_COLUMNS), [_row(summary) for summary in summaries])
    write_text(folder / "curve.csv", curve.csv())
    write_json(folder / "results.json", {"about": about, "evaluations": [row.as_dict() for row in summaries]})


def prior_records(results: Json) -> list[JsonDict]:
    """Every number of `train_prior`: split, subset of vehicles, method, then the metrics."""
    return [
        {"split": split, "vehicles": subset, "method": method, **values}
        for split, subsets in results.items()
        for subset, methods in subsets.items()
        for method, values in methods.items()
    ]


_NEAREST: Final = {
    "minADE": "mean distance of the nearest",
    "minFDE": "distance at the end of the nearest",
    "miss": "share that is met by none",
}


def prior_table(results: Json) -> Table:
    """The numbers of `train_prior` that matter."""
    metrics = {f"{name}_{k}": f"{about} of {k}" for k in (6, 32) for name, about in _NEAREST.items()}
    columns = (
        *(Column(key) for key in ("split", "vehicles", "method")),
        Column("samples", kind="number", digits=0),
        *(Column(key, kind="number", about=about) for key, about in metrics.items()),
    )
    title = "Motion prior beside baselines (m; miss: no mode within 2 m after 8 s)"
    return Table(columns, prior_records(results), title)


def experts_tables(histories: Mapping[str, Sequence[Json]]) -> list[Table]:
    """What every expert was worth before and after alignment, and how feasible it was by every measure.

    Args:
        histories: Rows by expert (see `adversaries.sage.alignment.Alignment.fit`).

    Returns:
        Two tables, with a dash where a number was not measured.
    """
    when = "the prior's groups before and after alignment"
    return [
        _before_and_after(histories, _EXPERTS, f"Experts: {when}"),
        _before_and_after(histories, _FEASIBILITY, f"Share of feasible futures: {when}"),
    ]


def _before_and_after(histories: Mapping[str, Sequence[Json]], heads: Mapping[str, str], title: str) -> Table:
    rows = []
    for name, epochs in histories.items():
        for part in ("train", "held_out"):
            seen = [epoch[part] for epoch in epochs if part in epoch]
            if seen:
                known = [key for key in heads if key in seen[0] and key in seen[-1]]
                changes = {key: f"{seen[0][key]:.3f} → {seen[-1][key]:.3f}" for key in known}
                rows.append({"expert": name, "scenes": part, **changes})
    columns = (Column("expert"), Column("scenes"), *(Column(key, head) for key, head in heads.items()))
    return Table(columns, rows, title)


def seal_table(history: Mapping[str, Sequence[Json]]) -> Table:
    """The best held-out epoch of every network of SEAL."""
    rows = []
    for name, epochs in history.items():
        best = min(epochs, key=lambda epoch: epoch["held_out"])
        more = ", ".join(f"{key} {v:.3f}" for key, v in best.items() if key not in ("epoch", "held_out", "loss"))
        rows.append({**best, "network": name, "more": more})
    columns = (
        Column("network"),
        Column("epoch", kind="number"),
        Column("held_out", "held-out loss", "number", digits=4),
        Column("more"),
    )
    return Table(columns, rows, "SEAL: best held-out epochs")


_ERRORS: Final = {"mean": "", "p95": "95 % of the steps are below it", "max": ""}


def tokens_table(errors: Mapping[str, Mapping[str, float]]) -> Table:
    """Reconstruction errors of a motion vocabulary per kind of agent."""
    columns = (
        Column("kind"),
        *(Column(key, kind="number", about=about) for key, about in _ERRORS.items()),
        Column("steps", kind="number", digits=0),
    )
    rows: list[TableRow] = [{"kind": kind, **row} for kind, row in errors.items()]
    return Table(columns, rows, "Reconstruction of 10 Hz logs: mean distance of box corners, m")
