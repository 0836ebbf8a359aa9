"""Submissions, what is wrong with them, who is compared with whom, and the page."""

import copy
import json
import re

import pytest

from harness import leaderboard
from harness.errors import ConfigError
from harness.report.html.safety import policy
from harness.report.leaderboard_page import (
    board_cells,
    board_columns,
    leaderboard_table,
    mean_hit,
    sees,
    standings,
    write_leaderboard,
)
from harness.sharing.submissions import Submission, compose, faults_of, read_submission, scenes_digest
from scripts import docs_zoo

DIGEST = scenes_digest(["a", "b", "c", "d"])


def number(value, low=None, high=None):
    return {"value": value, "low": low, "high": high, "n": 4}


def cell(adversary, hit, completion=0.5, sut="mine"):
    columns = {"success": number(hit, hit / 2, 1.0), "crashed": number(hit), "completion": number(completion)}
    about = {"protocol": "corrected", "deviations_repeated": [], "data": "procedural", "split": "test"}
    about |= {"traffic": "log", "seeds": [0], "failure_examples": ["scene a: /home/me"]}
    attack = {"adversary": adversary, "sut": sut, "privileged": False, "sees_futures": False, "intensity": 1.0}
    return {**about, **attack, "n": 4, "failures": 0, "columns": columns}


def content(name="mine", hits=(0.5, 0.25), **changed):
    held = {
        "format": "gauntlet-submission-1",
        "name": name,
        "authors": ["A <b>", "B"],
        "link": "https://example.org/x",
        "kind": "learned",
        "gauntlet": {"version": "0.1.0", "commit": "abc"},
        "scenes": {"count": 4, "digest": DIGEST},
        "opponent": "vehicle",
        "horizon": None,
        "adversaries": {"cat": "cat", "half": "sage@0.5"},
        "weights": [],
        "cells": [cell("none", 0.0), cell("cat", hits[0]), cell("half", hits[1])],
    }
    return {**held, **changed}


def submission(*arguments, **changed):
    return Submission("file", content(*arguments, **changed))


def with_value(held, path, value):
    """A copy with one value replaced; `path` is keys and places."""
    held = copy.deepcopy(held)
    inner = held
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return held


def test_a_submission_in_order_has_no_fault():
    assert faults_of(content()) == []
    assert faults_of(content(link=None, horizon=90)) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["format"], "x", "format: expected gauntlet-submission-1, found 'x'"),
        (["name"], "", "name: expected a text"),
        (["name"], "n" * 121, "name: expected a text"),
        (["authors"], [], "authors: expected"),
        (["link"], "javascript:alert(1)", "link: expected an address that begins with https://"),
        (["link"], 'https://x"onclick=', "link: expected an address"),
        (["kind"], "magic", "kind: expected one of learned, rules"),
        (["gauntlet"], {"commit": None}, "gauntlet.version: expected"),
        (["gauntlet", "version"], "new", "gauntlet.version: expected a version"),
        (["scenes", "count"], True, "scenes.count: expected a number"),
        (["scenes", "digest"], "0", "scenes.digest: expected 64"),
        (["opponent"], None, "opponent: expected a kind of road user"),
        (["horizon"], 0, "horizon: expected"),
        (["adversaries"], {}, "adversaries: expected"),
        (["weights"], ["x"], "weights: expected a list of digests"),
        (["cells"], [1], "cells: expected a list"),
        (["score"], 9, "score: is no key of a submission"),
        (["cells", 1, "adversary"], "dog", "cells: expected one for each of none, cat, half"),
        (["cells", 1, "sut"], "other", "cells: sut: expected the same in every cell"),
        (["cells", 2, "seeds"], [1], "cells: seeds: expected the same"),
        (["cells", 1, "n"], 5, "cells: cat: n: expected 1 to 4 scenes, found 5"),
        (["cells", 1, "failures"], -1, "cells: cat: failures: expected"),
        (["cells", 1, "intensity"], "1", "cells: cat: intensity: expected"),
        (["cells", 1, "privileged"], 1, "cells: cat: privileged: expected"),
        (["cells", 1, "columns"], [], "cells: cat: columns: expected numbers"),
        (["cells", 1, "columns", "success"], number(0.5, 0.6, 0.7), "cells: cat: columns: success: expected 0 <= low"),
        (["cells", 1, "columns", "success"], number(1.5), "cells: cat: columns: success: expected 0 <= low"),
        (["cells", 1, "columns", "success"], 1, "cells: cat: columns: success: expected 0 <= low"),
        (["cells", 1, "columns", "success"], number(float("nan")), "cells: cat: columns: success: expected 0 <= low"),
        (["cells", 0, "columns"], {"success": number(0.0)}, "cells: none: columns: expected crashed and completion"),
    ],
)
def test_each_fault_is_one_sentence(path, value, said):
    (found,) = faults_of(with_value(content(), path, value))
    assert found.startswith(said)


def test_several_faults_are_several_sentences():
    assert len(faults_of(content(name="", kind="x", scenes=None))) == 4
    assert faults_of([]) == ["expected a JSON object, found list."]


def test_the_terms_of_a_comparison_are_named():
    mine = submission()
    assert mine.terms()["adversaries"] == "cat (cat, λ = 1), half (sage@0.5, λ = 1)"
    assert mine.unlike(submission("other", (0.0, 0.0), authors=["C"], kind="rules")) == []
    other = with_value(content(), ["gauntlet", "version"], "0.2.0")
    for held in other["cells"]:
        held["split"] = "val"
    assert Submission("f", other).unlike(mine) == ["Gauntlet is 0.2.0, not 0.1.0", "split is val, not test"]
    moved = with_value(content(), ["scenes", "digest"], "0" * 64)
    assert Submission("f", moved).unlike(mine) == [f"scenes is 4, digest 000000000000, not 4, digest {DIGEST[:12]}"]


def test_the_first_sets_the_terms_and_hits_the_order():
    worst, best = submission("worst", (1.0, 0.5)), submission("best", (0.25, 0.25))
    late = submission("late", horizon=50)
    assert submission(opponent="cyclist").unlike(late)[0] == "opponent is cyclist, not vehicle"
    found = standings([worst, late, best, submission("best")])
    assert [item.name for item in found.entries] == ["best", "worst"]
    assert found.refused == (("late", "horizon is 50 steps, not recording"), ("best", "the name is taken"))
    assert mean_hit(worst) == 0.75


def test_the_numbers_of_a_row():
    columns = board_columns(["cat", "half"])
    cells = list(board_cells(submission()))
    shown = [(column.group, column.title, one.text, one.interval) for column, one in zip(columns, cells, strict=True)]
    assert shown == [
        ("All attacks", "hit, mean, %", "37.5", ""),
        ("Undisturbed", "route completion, %", "50.0", ""),
        ("Undisturbed", "collision, %", "0.0", ""),
        ("Undisturbed", "off road, %", "–", ""),
        ("Attacked by cat", "hit, %", "50.0", "25.0 to 100.0"),
        ("Attacked by cat", "route completion, %", "50.0", ""),
        ("Attacked by half", "hit, %", "25.0", "12.5 to 100.0"),
        ("Attacked by half", "route completion, %", "50.0", ""),
    ]
    assert cells[3].value is None


def test_who_sees_more_is_told():
    assert sees(submission()) == "learned"
    assert sees(Submission("f", with_value(content(), ["cells", 0, "privileged"], True))) == "learned, privileged"
    assert sees(Submission("f", with_value(content(), ["cells", 0, "sees_futures"], True))) == "learned, sees futures"


def test_the_page_shows_names_as_text_and_runs_its_own_script_only(tmp_path):
    found = standings([submission("<i>x</i>"), submission("late", horizon=50)])
    write_leaderboard(tmp_path / "board.html", found)
    text = (tmp_path / "board.html").read_text()
    assert "&lt;i&gt;x&lt;/i&gt;" in text
    assert "A &lt;b&gt;, B" in text
    assert "horizon is 50 steps, not recording" in text
    script, style = re.search(r"<script>(.*)</script>", text, re.S)[1], re.search(r"<style>(.*)</style>", text, re.S)[1]
    held = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert held.replace("&#39;", "'") == policy(script, style)
    row = re.search(r"<tbody>(.*?)</tr>", text, re.S)[1]
    assert re.findall(r'data-number="([^"]*)"', row) == [
        "0.375",
        "0.5",
        "0.0",
        "",
        "0.5",
        "0.5",
        "0.25",
        "0.5",
        "4",
        "0",
    ]
    heads = re.findall(r'<th scope="col"', text)
    assert len(heads) == len(re.findall(r"<t[hd] (?:class|data|scope=.row)", row))


def test_a_submission_is_made_of_a_run(tmp_path):
    cells = [cell("none", 0.0), cell("cat", 0.5), cell("none", 0.0, sut="idm"), cell("cat", 0.0, sut="idm")]
    cells[0] |= {"data": "/home/me/WOMD", "traffic": "smart:/home/me/smart.safetensors?temperature=0.9"}
    config = {"adversary": ["none", "cat=cat:/home/me/w?spacing=4@0.5"], "horizon": 90}
    provenance = {"versions": {"gauntlet-drive": "0.1.0"}, "commit": "abc"}
    record = {"verb": "benchmark", "config": config, "provenance": provenance, "resumed": []}
    lineup = {"scenes": list("abcd"), "adversaries": ["cat"], "digests": {"w": "f" * 64}, "traffic_digest": ""}
    for name, value in {"run": record, "summary": {"cells": cells}, "lineup": lineup}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    found = compose(tmp_path, "mine", {"name": "n", "authors": ["A"], "link": None, "kind": "other"})
    assert found["adversaries"] == {"cat": "cat:w?spacing=4@0.5"}
    assert (found["weights"], found["horizon"], found["opponent"]) == (["f" * 64], 90, "vehicle")
    assert found["scenes"] == {"count": 4, "digest": DIGEST}
    assert [one["adversary"] for one in found["cells"]] == ["none", "cat"]
    assert (found["cells"][0]["data"], found["cells"][0]["traffic"]) == (
        "WOMD",
        "smart:smart.safetensors?temperature=0.9",
    )
    assert "/home" not in json.dumps(found)
    (tmp_path / "summary.json").write_text(json.dumps({"cells": cells, "about": {"completeness": {"complete": False}}}))
    with pytest.raises(ConfigError, match="its budget ended it"):
        compose(tmp_path, "mine", {})


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        leaderboard.main(arguments)
    return ended.value.code, capsys.readouterr().err.replace("\n", " ")


def test_the_command_says_every_fault_and_writes_nothing_then(tmp_path, capsys):
    good, bad, torn = (tmp_path / f"{name}.json" for name in ("good", "bad", "torn"))
    good.write_text(json.dumps(content()))
    bad.write_text(json.dumps(content(name="", kind="x")))
    torn.write_text('{"format"')
    page = tmp_path / "board.html"
    code, said = refused(["page", str(good), str(bad), str(torn), "--html", str(page)], capsys)
    assert code == 2
    assert (said.count("bad.json"), said.count("torn.json"), said.count("good.json")) == (2, 1, 0)
    assert not page.exists()
    bad.write_text(json.dumps(content("late", horizon=50)))
    code, said = refused(["page", str(good), str(bad), "--html", str(page)], capsys)
    assert code == 1
    assert "late is not compared: horizon is 50 steps, not recording" in said
    assert page.exists()
    leaderboard.main(["page", str(good), "--html", str(page)])
    assert refused(["submit", str(tmp_path), "--sut", "x", "--kind", "other", "--authors", "A"], capsys)[0] == 2


def test_our_own_submissions_are_in_order_and_comparable():
    found = docs_zoo.our_standings()
    assert {item.name for item in found.entries} == {"replay", "idm", "rule_expert", "td3", "ppo"}
    head, _, *rows = leaderboard_table(found).markdown()
    assert head.startswith("| system | kind | hit, mean, % |")
    assert len(rows) == 5
    assert "[" in docs_zoo.leaderboard_page(found)


def test_the_zoo_shows_all_weights_that_come_with_the_package():
    page = docs_zoo.zoo_page()
    shown = set(re.findall(r"^\| [^|]+ \| `(\w+\.\w+)` \| \d", page, re.M))
    assert shown == {file.name for folder in docs_zoo.weights_folders() for file in folder.glob("*.safetensors")}
    # 252 numbers in, two layers of 128, a value of each of two pedals out: 252·128 + 128 + 128·128 + 128 + 128·2 + 2.
    assert "| Driving policy | `ppo.safetensors` | 49,154 | 0.2 | `--sut ppo` |" in page
    assert "| Traffic model | `prior.safetensors` | 783,573 | 3.2 | `--adversary sage_smart` |" in page
    assert "\n## Weights of SAGE's experts\n" in page


def test_a_folder_s_card_without_a_heading_gets_one(tmp_path):
    assert docs_zoo.demoted("text", tmp_path / "model" / "weights").startswith("## Weights of the model")
    assert docs_zoo.demoted("# A\n## B\n", tmp_path) == "## A\n### B\n"


def test_what_cannot_be_read_is_a_fault(tmp_path):
    assert "cannot be read" in read_submission(tmp_path / "none.json")[1][0]
