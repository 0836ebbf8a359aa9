"""What a benchmark says of its traffic, in words and tables."""

from dataclasses import replace

import pytest

from harness.benchmarking.certificates.judging import judge
from harness.benchmarking.certificates.statements import statement
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.lineup import Lineup, SystemInfo
from harness.report.certificate_tables import certificate_block, certificate_lines, certificate_tables
from tests.unit.benchmarking.test_certificates import SCENES, a_certificate

CONFIG = BenchmarkConfig(traffic="smart", sut=("a",), adversary=("rule",))
SYSTEMS = tuple(SystemInfo(label, label, False, False, "action") for label in "abc")
LINEUP = Lineup(SCENES, SYSTEMS, ("rule",), {})


@pytest.fixture(scope="module")
def known():
    made = a_certificate()
    return made, judge(made)


def test_a_run_without_a_certificate_says_so_in_one_line():
    told = statement(replace(CONFIG, traffic="smart:/home/me/weights.safetensors?top_k=3"), LINEUP, None)
    assert told["line"].startswith("Traffic weights.safetensors has no fidelity certificate")
    assert certificate_lines(told) == ["## Background traffic", "", told["line"], ""]
    assert certificate_block(told) == {"line": told["line"], "notes": [], "tables": []}


@pytest.mark.parametrize("told", [None, statement(replace(CONFIG, traffic="log"), LINEUP, None)])
def test_the_recording_needs_none(told):
    assert certificate_lines(told) == []
    assert certificate_block(told)["line"] == ""


def test_how_far_it_is_about_this_run(known):
    told = statement(CONFIG, LINEUP, known)
    assert told["line"] == (
        "Traffic smart has a fidelity certificate: realism passes; reaction passes; ranking against log passes; "
        "ranking against idm-lane fails."
    )
    assert told["notes"][0].startswith("Measured on 20 scenes of procedural, split test, 8 roll-outs, seeds 0")
    assert len(told["notes"]) == 2, "and by a version that nobody knows"
    others = (SYSTEMS[0], replace(SYSTEMS[1], digest="f" * 64), replace(SYSTEMS[2], label="new"))
    lineup = Lineup(("s0", "elsewhere"), others, ("rule", "cat"), {})
    told = statement(replace(CONFIG, horizon=50), lineup, known)
    for note in (
        "This run has other scenes: 1 of its 2 are among them.",
        "Its ranking knows nothing of these systems, or had other files of theirs: b, new.",
        "Its ranking knows nothing of these adversaries: cat.",
        "Its episodes had another protocol or horizon than those of this run.",
    ):
        assert note in told["notes"]


def test_its_tables(known):
    told = statement(CONFIG, LINEUP, known)
    verdicts, realism, reaction, agreement, means, orders = certificate_tables(told["findings"])
    assert [row["verdict"] for row in verdicts.rows] == ["passes", "passes", "passes", "fails"]
    assert realism.cells(realism.rows[0])[:2] == ["smart", "20"]
    assert realism.cells(realism.rows[0])[2].startswith("0.805 [0.80")
    assert reaction.cells(reaction.rows[1]) == ["log", "20", "15", "0.750 [0.531, 0.888]"]
    texts = [" / ".join(agreement.cells(row)) for row in agreement.rows]
    assert "smart and idm-lane / completion / 20 / -1.000 [-1.000, -1.000]" in texts
    assert any(text.startswith("log and itself in redrawn scenes / everything together") for text in texts)
    assert "smart and log / success of rule / 20 / –" in texts
    rows = [means.cells(row) for row in means.rows]
    assert ["crashed", "c", "0.700", "0.600", "0.100"] in rows
    places = {(row["criterion"], row["pair"], row["reference"]): row["place"] for row in orders.rows}
    assert places["crashed", "a, c", "idm-lane"] == "swapped"
    assert places["crashed", "a, c", "log"] == "kept"
    assert ("crashed", "a, b", "log") not in places
    lines = certificate_lines(told)
    assert all(f"### {table.title}" in lines for table in (verdicts, realism, reaction, agreement, means, orders))
    block = certificate_block(told)
    assert [table["title"] for table in block["tables"]] == [line[4:] for line in lines if line.startswith("### ")]


def test_names_of_a_strangers_file_are_text(known):
    made, findings = known
    made = replace(made, setting=replace(made.setting, data="<img src=x onerror=a()>", split="[here](http://a.b)"))
    told = "\n".join(certificate_lines(statement(CONFIG, LINEUP, (made, findings))))
    assert r"scenes of \<img src=x onerror=a()\>, split \[here\](http://a.b)," in told


def test_nobody_to_rank():
    made = a_certificate()
    alone = tuple(row for row in made.ranking.rows if row.system == "a")
    made = replace(made, ranking=replace(made.ranking, systems=made.ranking.systems[:1], rows=alone))
    told = statement(CONFIG, LINEUP, (made, judge(made)))
    assert [table.title.split()[0] for table in certificate_tables(told["findings"])] == [
        *("verdicts", "realism", "followers")
    ]
