"""Every registered traffic policy keeps its contract, and every way of breaking it is caught."""

import numpy as np
import pytest

from harness import registry
from harness.checks import check_traffic
from harness.errors import ConformanceError
from harness.traffic.model.smart import SHIPPED
from tests.scenes import Agent, crossing, straight_road
from tests.unit.traffic.scenes import small_infgen

UNSHIPPED = {"infgen": small_infgen}
"""Models of which no weights come with the package."""


def scenes():
    late = Agent("late", -20.0, 0.0, 0.0, 12.0, first=7, last=60)
    return [straight_road(extra=[late]), crossing(origin=(7000.0, -12000.0), rotation=0.7)]


@pytest.mark.parametrize("name", registry.names("traffic"))
def test_registered_traffic(name, tmp_path):
    options = {}
    if name in UNSHIPPED:
        options["weights"] = tmp_path / f"{name}.safetensors"
        UNSHIPPED[name]().save(options["weights"])
    if name == "smart" and not SHIPPED.is_file():
        pytest.skip("this checkout holds no traffic weights; unit tests check the policy with small random ones")
    for scene in scenes():
        check_traffic(registry.make("traffic", name, **options), scene)


class Sound:
    """Everybody goes on at constant velocity."""

    name = "sound"

    def reset(self, scenario, rng):
        self.dt, self.noise = scenario.dt, rng.normal()

    def step(self, step, states, valid):
        states = states.copy()
        states[:, :2] += states[:, 3:] * self.dt
        return states, valid.copy()


class Spoilt(Sound):
    def __init__(self, spoil):
        self.spoil = spoil

    def step(self, step, states, valid):
        new_states, new_valid = super().step(step, states, valid)
        return self.spoil(step, states, valid, new_states, new_valid) or (new_states, new_valid)


def put(where, value):
    def spoil(step, states, valid, new_states, new_valid):
        if step == 30:
            new_states[where] = value

    return spoil


def in_place(step, states, valid, new_states, new_valid):
    states += 1.0


def dice(step, states, valid, new_states, new_valid):
    new_states[2:, 0] += np.random.normal() * 0.01  # noqa: NPY002


def own_dice():
    rng = np.random.default_rng(0)

    def spoil(step, states, valid, new_states, new_valid):
        new_states[2:, 0] += rng.normal() * 0.01

    return spoil


BROKEN = {
    "nan": (put((2, 0), np.nan), "step 30.*finite"),
    "teleport": (put((2, 0), 500.0), "must not jump"),
    "shape": (lambda step, s, v, ns, nv: (ns[:, :4], nv), r"shape \(3, 5\)"),
    "valid": (lambda step, s, v, ns, nv: (ns, nv.astype(int)), "dtype bool"),
    "in place": (in_place, "states it is given"),
    "global randomness": (dice, "global one"),
    "own randomness": (own_dice(), "equal motion"),
}


def scene():
    return straight_road(extra=[Agent("other", 10.0, 3.5, 0.0, 9.0)])


def test_a_sound_traffic_policy_passes():
    check_traffic(Sound(), scene())


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_traffic_policy_is_caught(case):
    spoil, message = BROKEN[case]
    with pytest.raises(ConformanceError, match=message):
        check_traffic(Spoilt(spoil), scene())
