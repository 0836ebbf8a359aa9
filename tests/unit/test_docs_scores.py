"""Scores and costs on the cards of the documentation: read from files, never written by hand."""

import re

import pytest

from harness import registry
from scripts import docs_costs, docs_scores
from scripts.docs_scores import DOCS, cost_facts, metric_facts, published, score_facts

ATTACKED = ("idm,push,.5,.25,.75", "idm,push@0.5,.4,.3,.6", "ppo,push,1,.9,1")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of documents with small tables; what was read before and is read here is forgotten."""
    (tmp_path / "results").mkdir()
    met = "success_geometry,success_geometry_low,success_geometry_high"
    head = f"sut,adversary,success,success_low,success_high,{met}"
    rows = ["idm,none,,,,.1,0,.2", *(f"{row},0,0,0" for row in ATTACKED)]
    (tmp_path / "results/attacks.csv").write_text("\n".join(["# a command", head, *rows]))
    text = "# Results\n\n## Traffic\n\nWords.\n\n| traffic | meta |\n|---|---|\n| log | .8 [.7, .9] |\n"
    text += "| `flow?a=1` | **.7** [.6, .8] |\n\n| later | x |\n|---|---|\n| log | 0 |\n"
    text += "\n## Egos\n\n| trained against | completion, as recorded | completion, attacked |\n|---|---|---|\n"
    text += "| nobody | .5 | .4 |\n| `push` | .9 | .8 |\n\n## Empty\n\nNothing.\n"
    (tmp_path / "results.md").write_text(text)
    monkeypatch.setattr(docs_scores, "DOCS", tmp_path)
    for read in (docs_scores.csv_rows, docs_scores.published):
        read.cache_clear()
    yield tmp_path
    for read in (docs_scores.csv_rows, docs_scores.published):
        read.cache_clear()


def test_an_adversary_says_how_often_it_succeeds_at_each_intensity(results):
    found = score_facts("adversary", "push")
    assert found["Headline table"] == (
        "Success in %: At λ = 1: 50 [25, 75] against `idm`, 100 [90, 100] against `ppo`. "
        "At λ = 0.5: 40 [30, 60] against `idm`. From the [table of attacks](../../results.md#attacks)."
    )
    assert found["Egos trained against it"].startswith("Completion as recorded .9, attacked by `sage` .8.")
    nobody = score_facts("adversary", "none")
    assert "recorded .5" in nobody["Egos trained against it"]
    assert nobody["Headline table"].startswith(
        "Nobody attacks. Scenes in which the opponent is met all the same, in %: `idm` 10 [0, 20]."
    )


def test_a_system_under_test_says_who_hits_it(results):
    assert score_facts("policy", "idm")["Headline table"].startswith(
        "Attacks that succeed, in %: 50 [25, 75] by `push`, 40 [30, 60] by `push@0.5`. Unattacked it meets "
        "the opponent in 10 [0, 20] %."
    )


def test_traffic_reads_the_first_table_of_its_section(results):
    assert score_facts("traffic", "log")["Headline table"].startswith("log: meta .8 [.7, .9].")
    assert score_facts("traffic", "flow")["Headline table"].startswith("`flow?a=1`: meta .7 [.6, .8].")


@pytest.mark.parametrize("section", ["nowhere", "empty"])
def test_a_section_without_a_table_is_an_error(results, section):
    with pytest.raises(ValueError, match=f"no section '{section}'"):
        published(section)


def test_who_has_no_row_says_so(results):
    assert score_facts("policy", "unknown") == {
        "Headline table": "The [table of attacks](../../results.md#attacks) has no row for it."
    }
    assert "has no row for it" in score_facts("curriculum", "cat")["Headline table"]
    assert "None of the three tables" in score_facts("backbone", "smart")["Headline table"]
    assert "None of the three tables" in metric_facts("harness.metrics.zipf")["Headline table"]
    assert metric_facts("harness.metrics.realism")["Headline table"].startswith("P_kin and P_beh in the [table")


def test_costs_are_written_and_read_back(results):
    cost = {"median": 0.01234, "slowest": 1234.0, "memory_mb": 0.0}
    measured = {"decision_ms": {"idm": cost, "onnx": {"error": "needs a file"}}, "traffic_ms": {"flow": cost}}
    text = docs_costs.costs_csv(measured)
    assert text.splitlines()[0] == f"# {docs_costs.COMMAND}"
    assert [line[:9] for line in text.splitlines()[2:]] == ["policy,id", "traffic,f"]
    (results / "results/costs.csv").write_text(text)
    said = cost_facts("policy", "idm")["Measured cost"]
    assert said.startswith("0.012 ms a decision in the median. 1200 ms at most. The process grew by 0 MB.")
    assert cost_facts("policy", "onnx")["Measured cost"].startswith("Not measured")
    assert cost_facts("curriculum", "cat") == {}


def test_the_published_tables_know_the_components():
    for kind, name in (("adversary", "cat"), ("policy", "ppo"), ("traffic", "smart")):
        assert re.search(r"\d \[\S+, \S+\]", score_facts(kind, name)["Headline table"])
    metrics = DOCS.parent / "harness/metrics"
    assert [name for name in docs_scores.METRICS if not list(metrics.glob(f"{name}*"))] == []


def test_the_published_costs_are_of_components():
    for row in docs_scores.csv_rows("costs"):
        assert row["name"] in registry.BUILTIN[row["kind"]]
        assert float(row["slowest_ms"]) >= float(row["median_ms"]) >= 0 <= float(row["memory_mb"])
