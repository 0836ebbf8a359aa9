"""Every registered curriculum keeps its contract, and every way of breaking it is caught."""

import numpy as np
import pytest

from harness import registry
from harness.checks import check_curriculum
from harness.errors import ConformanceError
from harness.interfaces import AttackSchedule


@pytest.mark.parametrize("name", registry.names("curriculum"))
def test_registered_curriculum(name):
    check_curriculum(registry.resolve("curriculum", name))


class Sound:
    """Attacks as often as the ego has stayed clear of crashes."""

    name = "sound"

    def __init__(self):
        self.seen, self.crashes = 0, 0

    def schedule(self, progress):
        return AttackSchedule(1.0 - self.crashes / max(self.seen, 1), progress)

    def record(self, outcome):
        self.seen += 1
        self.crashes += outcome.crashed

    def state_dict(self):
        return {"seen": self.seen, "crashes": self.crashes}

    def load_state_dict(self, state):
        self.seen, self.crashes = state["seen"], state["crashes"]


class TooOften(Sound):
    def schedule(self, progress):
        return AttackSchedule(1.8 * progress, 1.0)


class NanIntensity(Sound):
    def schedule(self, progress):
        return AttackSchedule(0.5, np.log(progress) if progress else float("nan"))


class Tuple(Sound):
    def schedule(self, progress):
        return (0.5, 0.5)


class CountsQuestions(Sound):
    asked = 0

    def schedule(self, progress):
        self.asked += 1
        return AttackSchedule(0.5, self.asked * 1e-3)


class Forgetful(Sound):
    def schedule(self, progress):
        return AttackSchedule(0.5, float(self.crashes))

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class LoadsNothing(Sound):
    def load_state_dict(self, state):
        pass


class Arrays(Sound):
    def state_dict(self):
        return {"seen": np.array(self.seen), "crashes": self.crashes}


class Aliased(Sound):
    """Hands out its own list."""

    def __init__(self):
        self.history = []

    def schedule(self, progress):
        return AttackSchedule(0.5, float(len(self.history)))

    def record(self, outcome):
        self.history.append(outcome.crashed)

    def state_dict(self):
        return {"history": self.history}

    def load_state_dict(self, state):
        self.history = list(state["history"])


class Random(Sound):
    def schedule(self, progress):
        return AttackSchedule(float(np.random.random()), 1.0)  # noqa: NPY002


class ChanceAtBirth(Sound):
    def __init__(self):
        super().__init__()
        self.intensity = np.random.default_rng().random()

    def schedule(self, progress):
        return AttackSchedule(0.5, self.intensity)


class Nameless(Sound):
    name = None


class Chooses(Sound):
    """Attacks scenes in turn."""

    def choose(self, scenes, progress, rng):
        return self.seen % len(scenes), AttackSchedule(1.0, 0.5)

    def unattackable(self, scene, intensity):
        self.seen += 1


class ChoosesNowhere(Chooses):
    def choose(self, scenes, progress, rng):
        return len(scenes), AttackSchedule(1.0, 0.5)


class ChoosesHalf(Chooses):
    def choose(self, scenes, progress, rng):
        return 0, AttackSchedule(0.5, 0.5)


class ChoosesByOwnCount(Chooses):
    def __init__(self):
        super().__init__()
        self.chosen = 0

    def choose(self, scenes, progress, rng):
        self.chosen += 1
        return self.chosen % 3, AttackSchedule(1.0, 0.5)


BROKEN = {
    ChoosesNowhere: "place of a scene",
    ChoosesHalf: "must be 0 or 1",
    ChoosesByOwnCount: "go on exactly",
    TooOften: r"probability at progress 0\.60 must lie in \[0, 1\]",
    NanIntensity: r"intensity at progress 0\.00 must be finite",
    Tuple: "must be an AttackSchedule",
    CountsQuestions: "must not change it",
    Forgetful: r"state_dict must return|go on exactly",
    LoadsNothing: "state_dict must return",
    Arrays: "JSON-able",
    Aliased: "must not change when the curriculum goes on",
    Random: r"must not change it|global one",
    ChanceAtBirth: "equal schedules",
    Nameless: "non-empty string",
}


def test_a_sound_curriculum_passes():
    check_curriculum(Sound)
    check_curriculum(Chooses)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_curriculum_is_caught(broken):
    with pytest.raises(ConformanceError, match=BROKEN[broken]):
        check_curriculum(broken)
