"""The page about a folder: what it says, whom it draws, and that what strangers named stays text."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from harness.drawing.palette import LIGHT, rgb
from harness.drawing.thumbnails import as_png, thumbnail
from harness.errors import RunError
from harness.report.html.safety import policy, strict
from harness.report.scene_page import NO_SPLIT, facts_of, write_scene_page
from scenarios.listing import SceneRow
from scenarios.tagging.vocabulary import SceneTags
from tests.scenes import crossing, straight_road

TAGS = SceneTags({"type": ("cut-in", "cyclist"), "road": ("junction",)})
FIT = SceneRow("sd_a", "91", "10 Hz", "2", "40.0", "7", "train", "", TAGS)
LONG = SceneRow("sd_b", "101", "10 Hz", "6", "20.0", "7", "test")
UNFIT = SceneRow("sd_c", "91", "10 Hz", "1", "30.0", left_out="no opponent <b>")
UNREAD = SceneRow("sd_d", left_out="cannot be read: torn")


class Source:
    """Three scenes, the third of which is gone by the time it is drawn."""

    ids = ("sd_a", "sd_b", "sd_c", "sd_d")

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise RunError("it is gone")
        return (crossing(), straight_road())[index]


def page(tmp_path, rows, **options):
    path = tmp_path / "page.html"
    write_scene_page(path, rows, Source(), "A & B", options.pop("pictures", 9), **options)
    return path.read_text()


def test_facts_count_what_is_there():
    assert facts_of([FIT, LONG, UNFIT, UNREAD]) == [
        ("scenes", "4"),
        ("train", "1"),
        ("test", "1"),
        (NO_SPLIT, "2"),
        ("fit for attacks", "2"),
        ("steps", "91 to 101, median 91"),
        ("agents", "1 to 6, median 2"),
        ("ego's path", "20 to 40 m, median 30 m"),
    ]
    assert ("steps", "91") in facts_of([FIT])
    assert facts_of([]) == [("scenes", "0"), ("fit for attacks", "0")]


def test_every_scene_has_a_card_and_readable_ones_a_picture(tmp_path):
    seen = []
    text = page(tmp_path, [FIT, LONG, UNFIT, UNREAD], watch=lambda rows: (seen.append(row) or row for row in rows))
    assert re.findall(r'data-name="(\w+)" data-split="([\w ]+)" data-fit="(\w+)"', text) == [
        ("sd_a", "train", "yes"),
        ("sd_b", "test", "yes"),
        ("sd_c", NO_SPLIT, "no"),
        ("sd_d", NO_SPLIT, "no"),
    ]
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert [Image.open(io.BytesIO(base64.b64decode(data))).size for data in pictures] == [(220, 220)] * 2
    assert "no picture: it is gone" in text
    assert "cannot be read: torn" in text
    assert seen == [FIT, LONG, UNFIT, UNREAD]


def test_tags_are_shown_and_can_be_chosen(tmp_path):
    text = page(tmp_path, [FIT, LONG], pictures=0)
    assert re.findall(r'data-tags="([^"]*)"', text) == ["type=cut-in type=cyclist road=junction", ""]
    assert '<p class="note">cut-in, cyclist, junction</p>' in text
    options = re.search(r'<select id="tag">(.*?)</select>', text)[1]
    assert re.findall("<option>([^<]+)", options) == ["road=junction", "type=cut-in", "type=cyclist"]


def test_names_are_text_and_only_the_page_s_own_script_may_run(tmp_path):
    text = page(tmp_path, [UNFIT], pictures=0)
    assert "no opponent &lt;b&gt;" in text
    assert "A &amp; B" in text
    script, style = re.search(r"<script>(.*)</script>", text, re.S)[1], re.search(r"<style>(.*)</style>", text, re.S)[1]
    held = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert held.replace("&#39;", "'") == policy(script, style)
    assert "default-src 'none'" in held.replace("&#39;", "'")
    assert script.startswith('(() => {\n"use strict";')


def test_only_so_many_scenes_get_a_picture(tmp_path):
    assert page(tmp_path, [FIT, LONG], pictures=1).count("data:image/png") == 1


def test_a_page_that_cannot_be_written_is_one_error(tmp_path):
    with pytest.raises(RunError, match=r"page\.html"):
        write_scene_page(tmp_path / "no" / "page.html", [FIT], Source(), "A", 0)


def test_a_thumbnail_shows_the_ego_and_the_opponent():
    picture = thumbnail(crossing(interest=("ego", "opponent")), 200)
    pixels = np.asarray(picture, int).reshape(-1, 3)
    for colour in (LIGHT.ego, LIGHT.opponent):
        assert (np.abs(pixels - rgb(colour)).max(1) < 60).sum() > 5
    assert Image.open(io.BytesIO(as_png(picture))).size == (200, 200)


def test_a_script_has_no_global_names():
    assert strict("let a = 1;") == '(() => {\n"use strict";\nlet a = 1;\n})();'
