"""Each way a scene can be wrong, and the finding it gives."""

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios.scenario import Kind
from scenarios.validate import Needs, check, duplicates, validate
from tests.scenes import Agent, straight_road


def edited(name, change, **options):
    """A straight road with one array changed in place of a copy."""
    scene = straight_road(**options)
    array = getattr(scene, name).copy()
    change(array)
    return replace(scene, **{name: array})


def put(value, *where):
    def change(array):
        array[where] = value

    return change


def test_a_good_scene_has_no_findings():
    assert validate(straight_road(), Needs(steps=91, road_edges=True, opponent=True)) == ()


CASES = [
    (edited("position", put(np.nan, 1, 20, 0)), "error", "tracks['opponent']: position", "step 20"),
    (edited("velocity", put(np.inf, 0, 3)), "error", "tracks['ego']: velocity", "step 3"),
    (edited("heading", put(np.nan, 0, 90)), "error", "heading", "step 90"),
    (edited("size", put(0.0, 0, slice(None), 1)), "error", "tracks['ego']: size", "91 steps"),
    (edited("valid", put(False, 0, slice(30, 33))), "error", "(ego)", "gaps, the first at step 30"),
    (edited("valid", put(False, 0, slice(0, 2))), "error", "(ego)", "only at step 2"),
    (edited("valid", put(False, 0)), "error", "(ego)", "never valid"),
    (edited("valid", put(False, 0, slice(50, None))), "error", "(ego)", "lasts 50 steps, but 91"),
    (edited("kinds", put(Kind.PEDESTRIAN, 0)), "error", "(ego)", "pedestrian"),
    (edited("position", put(500.0, 0, slice(40, None), 1)), "error", "tracks['ego']: position", "jumps 499 m"),
    (edited("valid", put(False, 1, slice(30, 33))), "warning", "(opponent)", "1 gaps"),
    (straight_road(ego_speed=0.0), "warning", "(ego)", "hardly moves: 0.0 m"),
    (straight_road(opponent_from=5), "warning", "(opponent)", "step 5"),
    (straight_road(opponent_from=20), "error", "(opponent)", "step 20"),
    (straight_road(with_opponent=False), "error", "opponent", "none"),
    (straight_road(edges=False), "error", "map_features", "no road edges"),
    (replace(straight_road(), features=straight_road().features[2:]), "error", "map_features", "no lanes"),
    (replace(straight_road(), features=straight_road().features[:1] * 2), "error", "map_features", "same id"),
    (replace(straight_road(), agent_ids=("ego", "ego")), "error", "tracks", "same id"),
    (replace(straight_road(), heading=np.zeros((2, 5))), "error", "heading", "shape (2, 5), expected (2, 91)"),
    (replace(straight_road(), ego=5), "error", "ego", "index 5"),
    (replace(straight_road(), opponent=0), "error", "opponent", "not another agent"),
    (replace(straight_road(), dt=0.0), "error", "ts", "time step is 0 s"),
    (straight_road(extra=[Agent("x", 0, 9, 0, 90.0)]), "warning", "tracks['x']: velocity", "90 m/s"),
    (straight_road(extra=[Agent("x", 0, 9, first=91)]), "warning", "tracks", "never valid (x)"),
]


@pytest.mark.parametrize(("scene", "level", "field", "reason"), CASES, ids=[f"{c[2]}-{c[3]}" for c in CASES])
def test_findings_name_field_and_reason(scene, level, field, reason):
    findings = validate(scene, Needs(steps=91, road_edges=True, opponent=True))
    assert any(f.level == level and field in f.field and reason in f.reason for f in findings), findings


def test_nan_in_invalid_rows_is_no_error():
    assert not any(f.level == "error" for f in validate(edited("position", put(np.nan, 1, 2), opponent_from=5)))


def test_broken_map_points_are_an_error():
    scene = straight_road()
    points = scene.features[0].points.copy()
    points[3, 0] = np.nan
    scene = replace(scene, features=(replace(scene.features[0], points=points), *scene.features[1:]))
    assert any("map_features['right']" in f.field and f.level == "error" for f in validate(scene))


def test_needs_decide_between_error_and_warning():
    scene = straight_road(edges=False, with_opponent=False)
    assert {f.level for f in validate(scene)} == {"warning"}
    assert [f.level for f in validate(scene, Needs(road_edges=True))] == ["error", "warning"]
    assert [f.level for f in validate(scene, Needs(opponent=True))] == ["error", "warning"]
    with pytest.raises(ScenarioError, match=r"b\.pkl: .*lasts 91 steps, but 200 are needed"):
        check(replace(scene, source="b.pkl"), Needs(steps=200))


def test_duplicate_scenes_across_files():
    assert duplicates([("1.pkl", "a"), ("2.pkl", "b"), ("3.pkl", "a")]) == {"a": ["1.pkl", "3.pkl"]}
