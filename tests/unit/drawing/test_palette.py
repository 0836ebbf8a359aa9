"""One palette: nobody else names a colour of a role, and nobody else paints."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from harness.drawing.palette import DARK, LIGHT, MARKERS, Palette, blend, rgb, series_colour, series_marker
from harness.report.html.safety import themes
from scenarios.scenario import Kind

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("gauntlet", "scenarios", "adversaries", "ego_policies", "curricula", "harness")
LITERAL = re.compile(r"""["'\s:(]\#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})\b|["']C\d(?!\d)[-o:s^x*.]*["']|\brgba?\(\s*\d""")
NAMED = re.compile(r"""\b(?:color|colors|facecolor|edgecolor|ec|fc|fill|c)=["'](?!none["'])""")
PAINTERS = re.compile(r"^\s*(?:from|import) (?:matplotlib|PIL|imageio)\b", re.MULTILINE)


def sources() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".js", ".css", ".j2")
    }


def test_colours_are_named_in_the_palette_alone():
    found = {
        name: match.group()
        for name, text in sources().items()
        if name != "harness/drawing/palette.py"
        for match in [LITERAL.search(text) or (NAMED.search(text) if name.endswith(".py") else None)]
        if match
    }
    assert not found


@pytest.mark.parametrize(
    "text", ['EGO = "#1f77b4"', '"C3o-"', "a { color: #fff; }", "--shade: rgb(1, 2, 3)", 'plot(x, color="grey")']
)
def test_the_rule_sees_a_colour(text: str):
    assert LITERAL.search(text) or NAMED.search(text)


def test_only_drawing_paints():
    painters = {name for name, text in sources().items() if name.endswith(".py") and PAINTERS.search(text)}
    assert painters
    assert all(name.startswith("harness/drawing/") for name in painters)


def test_themes_name_the_same_roles_and_the_page_uses_no_other():
    for palette in (LIGHT, DARK):
        assert len(palette.series) == len(MARKERS)
        for field in fields(Palette):
            if field.name != "series":
                rgb(getattr(palette, field.name))
    defined = set(re.findall(r"--([a-z0-9-]+):", themes()))
    page = "".join(text for name, text in sources().items() if "/templates/" in name)
    used = {name for name in re.findall(r"var\(--([a-z0-9-]+)\)", page)}
    assert used <= defined
    assert f"--ego: {LIGHT.ego};" in themes()
    assert f"--ego: {DARK.ego};" in themes()
    assert "--lane-centre:" in themes()
    named = re.search(r"for \(const name of \[(.*?)\]\)", page, re.DOTALL)
    assert named is not None
    assert set(re.findall(r'"([a-z-]+)"', named.group(1))) <= defined


def test_people_and_cyclists_look_different_from_ego_and_opponent():
    kinds = {kind: LIGHT.of_kind(kind) for kind in (Kind.VEHICLE, Kind.PEDESTRIAN, Kind.CYCLIST, Kind.CONE)}
    assert len({*kinds.values(), LIGHT.ego, LIGHT.opponent}) == 6


def test_mixing_and_counting():
    assert rgb("#0a10ff") == (10, 16, 255)
    assert blend("#000000", "#ffffff", 1.0) == (0, 0, 0)
    assert blend("#000000", "#c8c8c8", 0.5) == (100, 100, 100)
    assert series_colour(len(LIGHT.series)) == series_colour(0) != series_colour(1)
    assert series_marker(len(MARKERS)) == series_marker(0) != series_marker(1)
