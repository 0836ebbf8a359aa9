"""When an adversary adapts beside the ego, and to which drives."""

import pytest

from adversaries.none import NoAdversary
from harness.errors import ConfigError
from harness.fast.episodes import AttackedEpisodes
from harness.fast.plays import Play
from harness.training.co_training import FOLDER, CoTraining
from tests.scenes import straight_road
from tests.sources import ListSource
from tests.unit.fast.test_episodes import finished


class Learner:
    """Remembers what it was to learn from."""

    name, scenes_per_update = "learner", 2

    def __init__(self):
        self.told = []

    def plan(self, context):
        return None

    def adapt(self, contexts, updates, seed):
        self.told.append((contexts, updates, seed))
        return {"loss": float(len(self.told))}

    def state_dict(self):
        return {"times": len(self.told)}

    def load_state_dict(self, state):
        self.told = [None] * state["times"]

    def save(self, folder):
        (folder / "learnt").write_text("much")


def made(every=100):
    scenes = [straight_road(scene_id=name) for name in ("a", "b")]
    episodes = AttackedEpisodes(ListSource([*scenes, straight_road(scene_id="alone", with_opponent=False)]))
    adversary = Learner()
    return CoTraining(adversary, episodes, every=every, updates=3, seed=7), adversary, episodes


def test_it_adapts_after_so_many_steps_to_the_newest_drives():
    co_training, adversary, episodes = made()
    episodes.finished(finished(Play(0)))
    episodes.finished(finished(Play(1)))
    episodes.finished(finished(Play(1), steps=40))
    episodes.finished(finished(Play(2)))
    assert [co_training.after(step) for step in (50, 99)] == [{}, {}]
    assert co_training.after(100) == {"adversary_loss": 1.0}
    assert co_training.after(150) == {}
    # Two were due at once: one takes place.
    assert co_training.after(320) == {"adversary_loss": 2.0}
    assert co_training.after(399) == {}
    contexts, updates, _ = adversary.told[0]
    assert updates == 3
    found = {context.scenario.id: context for context in contexts}
    # Six draws are every scene twice; nobody attacks in the third.
    assert set(found) == {"a", "b"}
    assert len(contexts) == 4
    (drive,) = found["b"].ego_trajectories
    assert drive.valid.sum() == 41
    assert found["b"].ego_size == episodes.ego_size


def test_before_the_first_drive_there_is_nothing_to_learn_from():
    co_training, adversary, _ = made()
    assert co_training.after(100) == {}
    assert adversary.told == []


def test_it_goes_on_exactly(tmp_path):
    first, adversary, episodes = made()
    episodes.finished(finished(Play(0)))
    first.after(100)
    second, other, episodes = made()
    episodes.finished(finished(Play(0)))
    second.load_state_dict(first.state_dict())
    assert second.after(150) == {}
    assert second.after(200) == first.after(200) == {"adversary_loss": 2.0}
    assert other.told[1][2] == adversary.told[1][2] != adversary.told[0][2]
    first.save(tmp_path)
    assert (tmp_path / FOLDER / "learnt").read_text() == "much"


@pytest.mark.parametrize("adversary", [None, NoAdversary()])
def test_an_adversary_that_does_not_adapt_is_refused(adversary):
    with pytest.raises(ConfigError, match="--adversary sage"):
        CoTraining(adversary, AttackedEpisodes(ListSource([straight_road()])), every=1, updates=1, seed=0)
