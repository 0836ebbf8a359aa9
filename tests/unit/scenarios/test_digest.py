"""Names of what scenes hold: equal for equal scenes, different wherever something decisive differs."""

from dataclasses import replace

import numpy as np

from scenarios.digest import scene_digest
from tests.scenes import Agent, straight_road


def test_everything_decisive_counts_and_nothing_else():
    scene = straight_road(extra=[Agent("aside", -15.0, 3.5, 0.0, 10.0)])
    feature = scene.features[0]
    moved = scene.position.copy()
    moved[1, 5, 0] += 1e-6
    others = [
        replace(scene, id="another"),
        replace(scene, position=moved),
        replace(scene, valid=~scene.valid),
        scene.with_opponent(None),
        replace(scene, features=scene.features[1:]),
        replace(scene, features=(replace(feature, points=feature.points.astype(np.float32)), *scene.features[1:])),
        replace(scene, features=(replace(feature, type="LINE"), *scene.features[1:])),
        replace(scene, features=(replace(feature, exit=("7",)), *scene.features[1:])),
    ]
    names = [scene_digest(other) for other in (scene, *others)] + [scene_digest(scene, "2"), scene_digest(scene, 2, "")]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {32}
    copy = replace(scene, position=scene.position.copy(), source="elsewhere", metadata={"a": 1})
    assert scene_digest(copy, 2, "") == names[-1]
