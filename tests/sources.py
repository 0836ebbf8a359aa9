"""Scenes in memory as a `ScenarioSource`."""

from __future__ import annotations

from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road


class ListSource:
    """A list of scenes; can be pickled, so that it reaches worker processes."""

    def __init__(self, scenes):
        self.scenes = list(scenes)

    @property
    def ids(self):
        return tuple(scene.id for scene in self.scenes)

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        return self.scenes[index]


def tiny_source():
    """Three scenes: a road with a neighbour, a crossing, a road with a car ahead and nobody to attack."""
    ahead = Agent("ahead", 30.0, 0.0, 0.0, 8.0)
    aside = Agent("aside", -15.0, LANE_WIDTH, 0.0, 10.0)
    return ListSource(
        [
            straight_road(extra=[aside]),
            crossing(),
            straight_road(with_opponent=False, extra=[ahead], scene_id="no opponent"),
        ]
    )
