"""The pictures of the documentation, drawn from hand-made episodes; nothing is played here."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import registry
from harness.attacks.attackers import Attacker
from harness.interfaces import AttackPlan, Trajectory
from scripts import docs_pictures
from tests.scenes import straight_road
from tests.unit.training.test_evaluation import episode

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def attacked():
    """The straight road, on which the opponent follows its plan until row 40."""
    scene = straight_road()
    ego, opponent = (Trajectory(scene.states(agent), np.ones(91, bool)) for agent in (0, 1))
    until = Trajectory(opponent.states, np.arange(91) <= 40)
    plan = AttackPlan(opponent.states, opponent.valid, candidates=opponent.states[None])
    return scene, episode(ego=ego, opponent=until, plan=plan, policy="idm", crash_opponent=30)


def test_the_picture_of_a_card_is_small_and_says_who_against_whom(attacked, tmp_path, monkeypatch):
    drawn = {}
    draw = docs_pictures.draw_attack
    monkeypatch.setattr(
        docs_pictures,
        "draw_attack",
        lambda *given, **named: drawn.update(named, plan=given[1]) or draw(*given, **named),
    )
    docs_pictures.draw_card(*attacked, tmp_path / "cat.png", "cat")
    assert drawn["title"] == "cat against idm"
    assert drawn["contact_step"] == 30
    assert drawn["plan"].valid.sum() == 41, "what was driven, not what was planned"
    assert drawn["plan"].candidates.shape == (1, 91, 5)
    with Image.open(tmp_path / "cat.png") as picture:
        assert picture.mode == "P"
        assert 400 < picture.width < 700


def test_a_scene_that_was_left_alone_shows_the_log(attacked, tmp_path, monkeypatch):
    scene, played = attacked
    plans = []
    draw = docs_pictures.draw_attack
    monkeypatch.setattr(
        docs_pictures, "draw_attack", lambda *given, **named: plans.append(given[1]) or draw(*given, **named)
    )
    docs_pictures.draw_card(scene, replace(played, plan=None, crash_opponent=None), tmp_path / "none.png", "none")
    assert plans == [None]


def test_the_square_stays_where_the_ego_was_half_way(attacked):
    scene, _ = attacked
    view = docs_pictures.view(scene, "a caption")
    assert view.place == tuple(scene.position[scene.ego, 35, :2])
    assert view.caption == "a caption"


def test_the_wall_shows_registered_adversaries():
    found = [Attacker.parse(text, 1.0) for text in docs_pictures.WALL]
    assert {attacker.spec.name for attacker in found} <= set(registry.BUILTIN["adversary"])
    assert [attacker.intensity for attacker in found if attacker.spec.name == "sage"] == [0.0, 0.5, 1.0]


def test_every_adversary_is_in_the_gallery_which_is_small():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## `(\w+)`$", page, re.M)
    assert sorted(headings) == sorted(registry.BUILTIN["adversary"])
    shown = re.findall(r"!\[[^\]]+\]\(pictures/gallery/(\w+)\.gif\)", page)
    assert sorted(shown) == sorted(set(headings) - set(docs_pictures.UNSEEN))
    files = [DOCS / "pictures" / docs_pictures.GALLERY / f"{name}.gif" for name in shown]
    assert sum(file.stat().st_size for file in files) < 3e6
    for file in files:
        with Image.open(file) as picture:
            assert picture.width < 700
            assert picture.n_frames > 20


def test_the_gallery_has_the_recorded_drive_beside_each_attack(attacked, tmp_path, monkeypatch):
    scene, played = attacked
    made = len(docs_pictures.WALL) + len(registry.BUILTIN["adversary"]) - len(docs_pictures.UNSEEN)
    walls, captions = {}, []
    calm = replace(played, plan=None, opponent=None, crash_opponent=None)
    monkeypatch.setattr(docs_pictures, "SCENE", 0)
    monkeypatch.setattr(docs_pictures, "open_source", lambda *given, **named: None)
    monkeypatch.setattr(docs_pictures, "Dialled", lambda *given: None)
    monkeypatch.setattr(docs_pictures.Attacker, "build", lambda attacker: None)
    monkeypatch.setattr(docs_pictures, "played", lambda *given: (scene, calm, [played] * made))
    monkeypatch.setattr(docs_pictures, "draw_card", lambda *given: None)
    monkeypatch.setattr(
        docs_pictures, "frames", lambda scene, episode, size, view: captions.append(view.caption) or [view.caption] * 70
    )
    monkeypatch.setattr(
        docs_pictures,
        "save_wall",
        lambda shown, path, columns, fps: walls.update({path.name: [pictures[0] for pictures in shown]}),
    )
    docs_pictures.write_pictures(tmp_path)
    assert walls["wall.gif"] == ["as recorded", *docs_pictures.WALL.values()]
    assert walls["king.gif"] == ["as recorded", "king"]
    assert len(walls) == 1 + made - len(docs_pictures.WALL)
