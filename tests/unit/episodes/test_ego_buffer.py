import io

import numpy as np
import pytest

from harness.episodes.ego_buffer import EgoBuffer, log_trajectory
from harness.errors import ConfigError
from harness.interfaces import Trajectory
from tests.scenes import straight_road

SCENE = straight_road()


def drive(mark, last=90):
    states = np.full((91, 5), float(mark))
    return Trajectory(states, np.arange(91) <= last)


def marks(buffer):
    """First number of every trajectory; -1 for the log (which starts at x = 0 and moves)."""
    log = log_trajectory(SCENE).states
    return [-1 if np.array_equal(t.states, log) else int(t.states[0, 0]) for t in buffer.get(SCENE)]


@pytest.mark.parametrize(
    ("prefill", "before", "after_two", "after_seven"),
    [
        ("copies", [-1] * 5, [-1, -1, -1, 1, 2], [3, 4, 5, 6, 7]),
        ("once", [-1], [-1, 1, 2], [3, 4, 5, 6, 7]),
        ("none", [-1], [1, 2], [3, 4, 5, 6, 7]),
    ],
)
def test_the_log_gives_way_to_own_drives(prefill, before, after_two, after_seven):
    buffer = EgoBuffer(prefill=prefill)
    assert marks(buffer) == before
    for mark in (1, 2):
        assert buffer.add(SCENE.id, drive(mark))
    assert marks(buffer) == after_two
    for mark in range(3, 8):
        buffer.add(SCENE.id, drive(mark))
    assert marks(buffer) == after_seven


def test_ten_future_steps_are_needed():
    buffer = EgoBuffer()
    # Valid up to row 19: rows 11 … 19 are nine future steps.
    assert not buffer.add(SCENE.id, drive(1, last=19))
    assert len(buffer) == 0
    assert buffer.add(SCENE.id, drive(1, last=20))
    assert len(buffer.drives(SCENE.id)) == 1
    # Begun at step 11: where it was when attacks begin, nobody knows.
    assert not buffer.add(SCENE.id, Trajectory(drive(1).states, np.arange(91) > 10))


def test_drives_that_were_attacked_may_be_forgotten():
    everything, undisturbed = EgoBuffer(), EgoBuffer(remember="undisturbed")
    for buffer, kept in ((everything, True), (undisturbed, False)):
        assert buffer.add(SCENE.id, drive(1))
        assert buffer.add(SCENE.id, drive(2), attacked=True) is kept
    assert marks(everything)[-2:] == [1, 2]
    assert marks(undisturbed)[-2:] == [-1, 1]
    with pytest.raises(ConfigError, match="'all' or 'undisturbed', got 'none'"):
        EgoBuffer(remember="none")


def test_drives_are_copied_and_scenes_kept_apart():
    buffer = EgoBuffer()
    mine = drive(1)
    buffer.add(SCENE.id, mine)
    mine.states[:] = 9.0
    assert buffer.drives(SCENE.id)[0].states[0, 0] == 1.0
    assert buffer.drives("another scene") == ()
    with pytest.raises(ValueError, match="read-only"):
        buffer.drives(SCENE.id)[0].states[0] = 0.0


def test_state_survives_a_file_without_pickle_and_goes_on_exactly():
    buffer = EgoBuffer(3)
    for mark in range(5):
        buffer.add("a", drive(mark))
    buffer.add("b/ü", Trajectory(np.arange(250.0).reshape(50, 5), np.ones(50, bool)))
    file = io.BytesIO()
    np.savez(file, **buffer.state_dict())
    file.seek(0)
    other = EgoBuffer(7)
    other.add("stale", drive(1))
    with np.load(file, allow_pickle=False) as state:
        other.load_state_dict(state)
    assert other.maxlen == 3
    assert len(other) == 2
    for name in ("a", "b/ü"):
        for one, two in zip(buffer.drives(name), other.drives(name), strict=True):
            assert np.array_equal(one.states, two.states)
            assert np.array_equal(one.valid, two.valid)
    buffer.add("a", drive(9))
    other.add("a", drive(9))
    assert [t.states[0, 0] for t in other.drives("a")] == [t.states[0, 0] for t in buffer.drives("a")] == [3, 4, 9]


def test_an_empty_buffer_survives_too():
    other = EgoBuffer()
    other.add(SCENE.id, drive(1))
    other.load_state_dict(EgoBuffer(2).state_dict())
    assert (len(other), other.maxlen) == (0, 2)


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="maxlen"):
        EgoBuffer(0)
    with pytest.raises(ConfigError, match="prefill"):
        EgoBuffer(prefill="half")
    with pytest.raises(ConfigError, match=r"\[T, 5\]"):
        EgoBuffer().add("a", Trajectory(np.zeros((91, 4)), np.ones(91, bool)))
    state = EgoBuffer().state_dict() | {"counts": np.array([3])}
    with pytest.raises(ConfigError, match="inconsistent"):
        EgoBuffer().load_state_dict(state)
