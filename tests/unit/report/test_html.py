"""The page of a benchmark, read back by parsing: its data are the records', and names of strangers stay text."""

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from shapely import Point, Polygon

from harness.benchmarking.columns import OF_ATTACKS
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore
from harness.errors import RunError
from harness.files import read_json
from harness.geometry import box_corners, wrap_angle
from harness.report.html import write_report
from harness.report.html.choice import Shown
from harness.report.html.encoding import ANGLE, CENTIMETRE, POSE_UNITS, pack, pack_track, safe_json, unpack
from harness.report.html.episodes import OUTCOMES
from harness.report.html.overview import context, load
from harness.report.html.page import fitting
from tests.sources import ListSource
from tests.unit.report.runs import ADVERSARIES, EVIL, SYSTEMS, finished_run, scenes


class Page(HTMLParser):
    """The page as a browser's parser sees it: every element, and the text of scripts, styles and the rest."""

    def __init__(self, file: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, str] = {}
        self.script, self.style, self.text = "", "", ""
        self._open = ("", "")
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = (tag, dict(attrs).get("id") or "")

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._open = ("", "")

    def handle_data(self, data):
        tag, name = self._open
        if tag == "script" and name:
            self.data[name] = self.data.get(name, "") + data
        elif tag == "script":
            self.script += data
        elif tag == "style":
            self.style += data
        else:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


@pytest.fixture(scope="module")
def source() -> ListSource:
    return scenes()


@pytest.fixture(scope="module")
def run(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("run")
    return finished_run(folder, source)


@pytest.fixture(scope="module")
def page(run, source) -> Page:
    return Page(write_report(run.folder, source))


def test_numbers_survive_packing():
    values = np.array([[1.234, -5.678], [np.nan, 320.0]])
    packed = pack(values)
    assert packed["t"] == "i2"
    np.testing.assert_allclose(unpack(packed, columns=2), values, atol=CENTIMETRE / 2 + 1e-12)
    far = pack(np.array([1e5]))
    assert far["t"] == "i4"
    assert unpack(far)[0, 0] == 1e5
    states = np.array([[0.0, 0.0, 0.0], [10.0, 20.0, 4.0], [0.0, 0.0, 0.0], [11.0, 20.0, 3.0]])
    track = pack_track(states, np.array([False, True, False, True]), np.array([10.0, 20.0]))
    assert track["s"] == 1
    back = unpack(track, POSE_UNITS, 3)
    np.testing.assert_allclose(back[[0, 2]], [[0, 0, 4.0 - 2 * np.pi], [1, 0, 3.0]], atol=ANGLE)
    assert np.isnan(back[1]).all()
    assert pack_track(states, np.zeros(4, bool), np.zeros(2)) is None


def test_json_cannot_end_its_element():
    text = safe_json({"name": EVIL})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["name"] == EVIL


def test_the_page_says_which_scenes_were_chosen(run):
    about, lineup, summary = load(run.folder)
    assert "where" not in context(about, lineup, summary)["config"]
    about = {**about, "config": {**about["config"], "where": "speed>10"}}
    assert context(about, lineup, summary)["config"]["where"] == "speed>10"


def test_every_episode_is_listed_with_its_outcome(page: Page, run):
    index = json.loads(page.data["index"])
    listed = [
        CellKey(index["scenes"][scene], index["systems"][sut], index["adversaries"][adversary])
        for scene, sut, adversary in zip(
            *(index["episodes"][key] for key in ("scene", "sut", "adversary")), strict=True
        )
    ]
    assert sorted(listed) == sorted(run.keys())
    assert len(listed) == 3 * len(SYSTEMS) * (1 + len(ADVERSARIES))
    for row, key in enumerate(listed):
        record, shown = run.read(key), index["episodes"]["outcome"][row]
        if record.episode.error:
            assert (shown, index["errors"][str(row)]) == ("failed", record.episode.error)
        elif key.adversary != UNDISTURBED and record.scores["success"]:
            assert shown == "success"
        else:
            assert shown == ("collision" if record.episode.crashed else "quiet")
        for name, column in index["scores"].items():
            nobody = key.adversary == UNDISTURBED and name in OF_ATTACKS
            expected = None if nobody else record.scores.get(name)
            assert column[row] == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)
    counts = Counter(index["episodes"]["outcome"])
    assert counts["success"] >= 3
    assert counts["failed"] == 1
    assert set(counts) <= set(OUTCOMES) == set(index["outcomes"])
    assert not any(name.startswith("seconds") for name in index["scores"])


def test_tracks_are_the_recorded_ones(page: Page, run, source):
    index = json.loads(page.data["index"])
    for number, scenario in enumerate(source.scenes):
        block = json.loads(page.data[f"scene-{number}"])
        assert block["id"] == scenario.id
        origin = np.array(block["origin"])
        for row, episode in block["episodes"].items():
            at = int(row)
            names = (
                index["systems"][index["episodes"]["sut"][at]],
                index["adversaries"][index["episodes"]["adversary"][at]],
            )
            record = run.read(CellKey(scenario.id, *names)).episode
            assert episode["end"] == np.flatnonzero(record.ego.valid)[-1]
            for name, truth in (("ego", record.ego), ("opponent", record.opponent), ("plan", record.plan)):
                if truth is None:
                    assert episode[name] is None
                    continue
                poses = unpack(episode[name], POSE_UNITS, 3)
                expected = truth.states[truth.valid, :3]
                assert np.abs(poses[:, :2] + origin - expected[:, :2]).max() <= CENTIMETRE / 2 + 1e-9
                assert np.abs(wrap_angle(poses[:, 2] - expected[:, 2])).max() <= ANGLE
        for agent, entry in enumerate(block["agents"]):
            assert entry["id"] == scenario.agent_ids[agent]
            logged = scenario.position[agent, scenario.valid[agent], :2]
            assert np.abs(unpack(entry["log"], POSE_UNITS, 3)[:, :2] + origin - logged).max() <= CENTIMETRE / 2 + 1e-9


def test_a_record_of_another_scene_of_that_name_is_a_failed_episode(run, source):
    key = next(key for key in EpisodeStore(run.folder).keys() if not EpisodeStore(run.folder).read(key).episode.error)
    record, scenario = EpisodeStore(run.folder).read(key), source[source.ids.index(key.scenario_id)]
    assert fitting(record, scenario) is record
    episode = dataclasses.replace(record.episode, agents_valid=record.episode.agents_valid[:-1])
    error = fitting(dataclasses.replace(record, episode=episode), scenario).episode.error
    agents = scenario.num_agents
    assert error == f"recorded with {agents - 1} agents, but the scene has {agents}: it is another one now"


def test_others_are_stored_only_where_they_left_the_log(page: Page, source):
    block = json.loads(page.data["scene-0"])
    moved = {row: [agent for agent, _ in episode["moved"]] for row, episode in block["episodes"].items()}
    last = source[0].num_agents - 1
    # The second system's episodes are those in which the last agent was pushed aside.
    assert [moved[str(row)] for row in range(6)] == [[], [], [], [last], [last], [last]]


def test_contact_lies_in_both_boxes(page: Page, run, source):
    block, scenario = json.loads(page.data["scene-0"]), source[0]
    record = run.read(CellKey(scenario.id, "logged", "rule"))
    contact = block["episodes"]["1"]["contact"]
    assert contact["step"] == record.scores["contact_step"] == record.episode.crash_opponent
    assert contact["agent"] == scenario.opponent
    place = Point(np.array([contact["x"], contact["y"]]) + block["origin"])
    for agent in (scenario.ego, scenario.opponent):
        pose = record.episode.agents[agent, contact["step"], :3]
        assert Polygon(box_corners(pose, np.array(scenario.box(agent)))).distance(place) < 0.02
    assert block["episodes"]["0"]["contact"] is None


def test_candidates_are_thinned_but_true(page: Page, run, source):
    block, scenario = json.loads(page.data["scene-0"]), source[0]
    packed, plan = block["episodes"]["2"]["candidates"], run.read(CellKey(scenario.id, "logged", "fan")).episode.plan
    assert block["episodes"]["1"]["candidates"] is None
    assert block["episodes"]["2"]["takeover"] == 30
    lines = unpack(packed, CENTIMETRE, 2).reshape(packed["k"], packed["n"], 2) + block["origin"]
    rows = [*range(10, 91, 4)]
    np.testing.assert_allclose(lines, plan.candidates[:, rows, :2], atol=0.006)


def test_the_map_is_there_once_and_close_to_the_scene(page: Page, source):
    block, scenario = json.loads(page.data["scene-0"]), source[0]
    assert set(block["map"]) == {"lane", "line", "edge"}
    layer = block["map"]["edge"]
    points = unpack(layer["xy"], CENTIMETRE, 2) + block["origin"]
    assert layer["n"] == [2, 2]  # a straight line needs no more
    edge = next(feature for feature in scenario.features if feature.id == "edge_right").points[:, :2]
    direction = (edge[-1] - edge[0]) / np.hypot(*(edge[-1] - edge[0]))
    offset = (points[:2] - edge[0]) @ np.array([-direction[1], direction[0]])
    assert np.abs(offset).max() < 0.02


def test_tables_say_what_the_summary_says(page: Page, run):
    summary = read_json(run.folder / "summary.json")
    text = re.sub(r"\s+", " ", page.text)
    for cell in summary["cells"]:
        if cell["adversary"] == UNDISTURBED:
            assert "success" not in cell["columns"]
        else:
            value = cell["columns"]["success"]
            assert (
                f"{100 * value['value']:.1f} {100 * value['low']:.1f} to {100 * value['high']:.1f} N = {cell['n']}"
                in text
            )
    assert text.count("none: nobody attacks, so there is no success. Undisturbed, the ego met the opponent in") == len(
        {cell["sut"] for cell in summary["cells"]}
    )
    assert "protocol: corrected" in text
    assert "1 failed" in text
    assert "privileged: reads true states" in text
    assert "no way through " + re.sub(r"\s+", " ", EVIL) in text


def test_names_of_strangers_stay_text(page: Page):
    assert page.count("script") == 3 + 2  # one per scene, the index, the program
    assert page.count("img") == 0
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "hacked" not in page.script
    assert EVIL in json.loads(page.data["index"])["scenes"][1]


def test_nothing_is_loaded_from_elsewhere(page: Page):
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form[action]")
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert "url(" not in page.style
    assert "@import" not in page.style
    for word in (
        "fetch(",
        "XMLHttpRequest",
        "import(",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
    ):
        assert word not in page.script
    (policy,) = (found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    for kind, text in (("script", page.script), ("style", page.style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_as_published_runs_say_so(tmp_path, source):
    finished_run(tmp_path / "run", source, "as-published")
    page = Page(write_report(tmp_path / "run", source))
    assert "protocol: as-published" in page.text
    assert "not what a careful evaluation" in re.sub(r"\s+", " ", page.text)
    assert json.loads(page.data["index"])["protocol"] == "as-published"


def test_unfinished_runs_and_missing_scenes_are_errors(tmp_path, run, source):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("report.html"))
    with pytest.raises(RunError, match=r"late.*Restore the data"):
        write_report(folder, ListSource(source.scenes[:2]))
    (folder / "summary.json").unlink()
    with pytest.raises(RunError, match="--resume"):
        write_report(folder, source)
    assert not (folder / "report.html").exists()


def test_further_scenes_lie_on_pages_beside_the_report(run, source, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    monkeypatch.setattr("harness.report.html.page.PAGE_SCENES", 1)
    first, second, third = source.ids
    (folder / "report").mkdir()
    for name in ("scenes-3-3.html", "scenes-101-200.html", "scenes-notes.html", "mine.html"):
        (folder / "report" / name).touch()
    seen: list[str] = []
    shown = Shown(telling=[second], sample=[], others=[first, third])
    main = Page(write_report(folder, source, shown, lambda names: (seen.append(name) or name for name in names)))
    assert seen == [second, first, third]
    index = json.loads(main.data["index"])
    assert (index["scenes"], index["sample"]) == ([second], [])
    assert "plays back 1 of 3 scenes" in main.text
    links = [attrs["href"] for tag, attrs in main.tags if tag == "a" and "scenes-" in (attrs.get("href") or "")]
    assert links == ["report/scenes-1-1.html", "report/scenes-2-2.html"]
    kept = {path.name for path in (folder / "report").iterdir()}
    assert kept == {"scenes-1-1.html", "scenes-2-2.html", "scenes-notes.html", "mine.html"}, (
        "its own old pages alone go"
    )
    for name, link in zip((first, third), links, strict=True):
        page = Page(folder / link)
        index = json.loads(page.data["index"])
        assert (index["scenes"], index["sample"]) == ([name], None)
        assert len(index["episodes"]["scene"]) == len(SYSTEMS) * (1 + len(ADVERSARIES))
        assert json.loads(page.data["scene-0"])["id"] == name
        assert page.count("table") == 0
        assert ("a", {"href": "../report.html"}) in page.tags
        # What the script asks for on every page is there; the plots alone are not.
        ids = {attrs.get("id") for _, attrs in page.tags}
        wanted = set(re.findall(r'\$\("([a-z-]+)"\)', page.script))
        assert not {name for name in wanted - ids if not name.startswith(("scatter", "spread", "plots"))}


def test_a_page_that_shows_a_part_says_how_to_get_more(run, source):
    page = Page(write_report(run.folder, source, Shown(telling=[], sample=[source.ids[0]])))
    assert "plays back 1 of 3 scenes" in page.text
    assert "--playback" in page.text
    whole = Page(write_report(run.folder, source))
    assert "plays back" not in whole.text
