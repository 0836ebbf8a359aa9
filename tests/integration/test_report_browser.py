"""The page in a real headless browser: no errors, filters that agree with the records, a player that plays."""

import itertools
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.episodes.records import CellKey
from harness.report.html import write_report
from tests.unit.report.runs import EVIL, finished_run, scenes

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `browser`)")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    """Playwright's own Chromium, or the system's (or the one that GAUNTLET_CHROMIUM names)."""
    with playwright.sync_playwright() as engine:
        found = os.environ.get("GAUNTLET_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        own = Path(engine.chromium.executable_path)
        if not own.exists() and found is None:
            pytest.skip("no Chromium: run `playwright install chromium`, install one, or set GAUNTLET_CHROMIUM")
        # Root in a container has no sandbox; the page under test is our own.
        options = {} if own.exists() else {"executable_path": found}
        running = engine.chromium.launch(args=["--no-sandbox"], **options)
        yield running
        running.close()


@pytest.fixture(scope="module")
def source():
    return scenes()


@pytest.fixture(scope="module")
def run(tmp_path_factory, source):
    store = finished_run(tmp_path_factory.mktemp("run"), source)
    write_report(store.folder, source)
    return store


@pytest.fixture
def page(browser, run):
    """The page, opened from its file; whatever it complains about or asks the network for fails the test."""
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    trouble = []
    opened.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda request: trouble.append(request.url) if request.url.startswith("http") else None)
    opened.goto((run.folder / "report.html").as_uri())
    opened.wait_for_selector("#episodes button")
    yield opened
    assert trouble == []
    assert opened.evaluate("window.hacked") is None
    opened.close()


def outcome(record) -> str:
    if record.episode.error:
        return "failed"
    if record.key.adversary != "none" and record.scores["success"]:
        return "success"
    return "collision" if record.episode.crashed else "quiet"


def choose(page, policy: str, adversary: str, scene: str = "") -> None:
    page.select_option("#filter-sut", label=policy)
    page.select_option("#filter-adversary", label=adversary)
    page.fill("#filter-scene", scene)
    page.click("#episodes button >> nth=0")


def ego(page) -> np.ndarray:
    return np.array([float(value) for value in page.get_attribute("#view", "data-ego").split()])


def test_another_system_plays_beside_at_the_same_moment(page) -> None:
    names = [option.text_content() for option in page.query_selector_all("#filter-sut option")][1:]
    choose(page, names[0], "none (undisturbed)")
    assert page.is_hidden("#pane-beside")
    page.select_option("#beside", label=names[1])
    assert page.is_visible("#view-beside")
    assert page.text_content("#pane-title") == names[0]
    assert page.text_content("#beside-title").startswith(names[1])
    # Whoever then opens the other one sees the first beside it.
    choose(page, names[1], "none (undisturbed)")
    assert page.text_content("#pane-title") == names[1]
    assert page.text_content("#beside-title").startswith(names[0])
    page.select_option("#beside", label="nobody")
    assert page.is_hidden("#pane-beside")


def picture(page) -> list[int]:
    """A fingerprint of the canvas: how often each colour occurs in it (of a copy: reading slows the original down)."""
    return page.evaluate(
        """() => {
        const c = document.getElementById("view"), copy = document.createElement("canvas"), n = new Array(64).fill(0);
        [copy.width, copy.height] = [c.width, c.height];
        const pen = copy.getContext("2d", { willReadFrequently: true });
        pen.drawImage(c, 0, 0);
        const d = pen.getImageData(0, 0, c.width, c.height).data;
        for (let i = 0; i < d.length; i += 4) n[(d[i] >> 6) * 16 + (d[i + 1] >> 6) * 4 + (d[i + 2] >> 6)]++;
        return n; }"""
    )


# Sets the three filters as a reader would, and says how many episodes are announced and how many are listed.
FILTER = """([outcome, sut, adversary]) => {
  for (const [id, text] of [["outcome", outcome], ["sut", sut], ["adversary", adversary]]) {
    const select = document.getElementById(`filter-${id}`);
    const found = [...select.options].find((option) => option.value === text || option.text === text);
    select.value = found.value;
    select.dispatchEvent(new Event("change"));
  }
  const listed = document.querySelectorAll("#episodes button").length;
  return [Number(document.getElementById("count").dataset.count), listed];
}"""


def test_filters_agree_with_the_records(page, run):
    records = [run.read(key) for key in run.keys()]
    kinds = [*Counter(map(outcome, records)), ""]
    policies = [*{record.key.policy for record in records}, ""]
    for kind, policy, adversary in itertools.product(kinds, policies, ["none", "rule", "fan", ""]):
        shown = "none (undisturbed)" if adversary == "none" else adversary
        expected = sum(
            kind in ("", outcome(record))
            and policy in ("", record.key.policy)
            and adversary in ("", record.key.adversary)
            for record in records
        )
        assert page.evaluate(FILTER, [kind, policy, shown]) == [expected, expected], (kind, policy, adversary)


def test_verdicts_can_be_filtered_by(page, run):
    records = [run.read(key) for key in run.keys()]
    offered = page.locator("#filter-verdict option").all_text_contents()
    for text, name, value in (
        ("avoidable", "avoidable", True),
        ("unavoidable", "avoidable", False),
        ("fault of the ego", "fault", "ego"),
        ("fault of the opponent", "fault", "opponent"),
    ):
        expected = sum(record.scores.get(name) == value for record in records)
        labels = [label for label in offered if label.startswith(f"{text} (")]
        assert labels == ([f"{text} ({expected})"] if expected else [])
        if labels:
            page.select_option("#filter-verdict", label=labels[0])
            assert page.get_attribute("#count", "data-count") == str(expected)
    assert len(offered) > 1, "the run has contacts, so there are verdicts"


def test_scrubbing_moves_the_ego_along_its_record(page, run, source):
    choose(page, "brakes", "rule")
    truth = run.read(CellKey(source.ids[0], "brakes", "rule")).episode.ego.states
    for step in (0, 17, 45, 90):
        page.evaluate(
            "s => { const t = document.getElementById('time'); t.value = s; t.dispatchEvent(new Event('input')); }",
            step,
        )
        np.testing.assert_allclose(ego(page), truth[step, :2], atol=0.011)
        assert f"step {step} " in page.text_content("#clock")
    before = picture(page)
    page.focus("#time")
    page.keyboard.press("Home")
    np.testing.assert_allclose(ego(page), truth[0, :2], atol=0.011)
    assert picture(page) != before


def test_keys_play_step_and_go_on_to_the_next_episode(page, run, source):
    choose(page, "logged", "rule")
    page.focus("#view")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert "step 11 " in page.text_content("#clock")
    start = ego(page)
    page.keyboard.press("Space")
    assert page.text_content("#play") == "Pause"
    page.wait_for_timeout(600)
    page.keyboard.press("Space")
    assert page.text_content("#play") == "Play"
    assert np.hypot(*(ego(page) - start)) > 1.0
    page.keyboard.press("c")
    contact = int(run.read(CellKey(source.ids[0], "logged", "rule")).scores["contact_step"])
    assert f"step {contact} " in page.text_content("#clock")
    page.keyboard.press("n")
    assert "late" in page.text_content("#episode-title") or EVIL.split("<")[0] in page.text_content("#episode-title")
    page.keyboard.press("p")
    assert "straight_road" in page.text_content("#episode-title")
    page.keyboard.press("End")
    assert "step 90 " in page.text_content("#clock")


def test_layers_and_views_change_the_picture(page):
    choose(page, "brakes", "fan", "straight")
    page.focus("#view")
    page.keyboard.press("c")
    seen = [picture(page)]
    assert len([count for count in seen[0] if count]) > 5, "the canvas is empty"
    for layer in ("candidates", "plan", "logged", "undisturbed", "others"):
        page.uncheck(f"[data-layer={layer}]")
        seen.append(picture(page))
        assert seen[-1] != seen[-2], layer
    for key in ("+", "f"):
        page.keyboard.press(key) if key == "f" else page.click("#zoom-in")
        seen.append(picture(page))
        assert seen[-1] != seen[-2], key
    page.click("#theme")
    assert page.get_attribute("html", "data-theme") == "dark"
    assert picture(page) != seen[-1]


def test_failed_episodes_say_why(page):
    page.select_option("#filter-outcome", "failed")
    page.click("#episodes button")
    assert "no way through" in page.text_content("#numbers")
    assert EVIL in page.text_content("#numbers")
    assert page.is_disabled("#play")
    page.keyboard.press("n")


def test_dots_of_the_plots_lead_to_their_episode(page, run, source):
    assert page.locator("#scatter svg").count() == 2
    dots = page.locator("#spread svg >> nth=0").locator(".dot")
    shown = [key for key in run.keys() if key.policy == "logged" and key.adversary != "none"]
    assert dots.count() == len(shown)
    dots.first.click(force=True)
    assert "logged" in page.text_content("#episode-title")
    assert "#episode-" in page.url
    page.reload()
    page.wait_for_selector("#episodes button[aria-current=true]")
    assert "logged" in page.text_content("#episode-title")


def test_small_screens_have_no_sideways_scrolling(browser, run):
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    opened.goto((run.folder / "report.html").as_uri())
    opened.wait_for_selector("#episodes button")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.close()


def test_names_of_strangers_are_shown_as_they_are(page, source):
    page.fill("#filter-scene", "onerror")
    page.click("#episodes button >> nth=1")
    assert source.ids[1].replace("\u2028", "") in page.text_content("#episode-title").replace("\u2028", "")
    assert page.locator("img").count() == 0


def test_a_dial_goes_from_one_intensity_to_the_next_at_the_same_moment(browser, run, tmp_path):
    text = (run.folder / "report.html").read_text()
    named = '"adversaries":["none","rule","fan"]'
    assert named in text
    (tmp_path / "dial.html").write_text(text.replace(named, '"adversaries":["none","x@1","x@0.5"]'))
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    trouble = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.goto((tmp_path / "dial.html").as_uri())
    opened.wait_for_selector("#episodes button")
    choose(opened, "logged", "none (undisturbed)")
    assert opened.locator("#dial").is_hidden()
    choose(opened, "logged", "x@0.5")
    assert opened.text_content("#level-text") == "λ = 0.5"
    opened.press("#view", "ArrowRight")
    opened.press("#view", "]")
    assert opened.text_content("#level-text") == "λ = 1"
    assert opened.text_content("#episode-title").startswith("x@1 · logged")
    assert "step 1 " in opened.text_content("#clock")
    opened.press("#view", "]")
    assert opened.text_content("#level-text") == "λ = 1"
    opened.evaluate("const l = document.getElementById('level'); l.value = 0; l.dispatchEvent(new Event('input'))")
    assert opened.text_content("#episode-title").startswith("x@0.5 · logged")
    assert trouble == []
    opened.close()
