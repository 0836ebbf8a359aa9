"""Scenes of other rates come to 10 Hz; every number can be worked out by hand."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios import resampling
from scenarios.description import from_description, to_description
from scenarios.export import write_pickle
from scenarios.importers.files import load_scene
from scenarios.resampled_format import RECORDED_STAMPS
from scenarios.resampling import RECORDED_RATE, implied_step, recorded_rate, resampled, resampling_note
from scenarios.time_stamps import at_ten_hertz
from scenarios.validate import validate
from tests.scenes import Agent, crossing, straight_road
from tests.unit.scenarios.same import same


def at(stamps, *, speed=10.0, **metadata):
    """A straight road in a file whose samples were taken at `stamps` (s); everybody drives at constant speed."""
    stamps = np.asarray(stamps, dtype=np.float64)
    document = to_description(straight_road(steps=len(stamps)))
    for track in document["tracks"].values():
        state = track["state"]
        state["velocity"] = np.tile([speed, 0.0], (len(stamps), 1))
        state["position"] = state["position"][:1] + np.outer(stamps - stamps[0], [speed, 0.0, 0.0])
    document["metadata"] |= {"ts": stamps, "track_length": len(stamps), **metadata}
    return document


def slow(scene):
    """The same samples, taken every 0.2 s."""
    return replace(scene, dt=0.2, velocity=scene.velocity / 2)


def drive(scene):
    return scene.position[scene.ego, :, 0] - scene.position[scene.ego, 0, 0]


@pytest.mark.parametrize("step", [0.05, 0.2, 0.25, 0.5, 1.0])
def test_constant_speed_at_other_rates(step):
    stamps = np.arange(0.0, 9.01, step)
    scene = resampled(from_description(at(stamps)))
    assert scene.dt == 0.1
    assert scene.num_steps == int(stamps[-1] * 10 + 1e-6) + 1
    np.testing.assert_allclose(drive(scene), np.arange(scene.num_steps) * 1.0, atol=1e-9)
    np.testing.assert_allclose(scene.velocity[scene.ego], np.tile([10.0, 0.0], (scene.num_steps, 1)))
    assert scene.valid[scene.ego].all()
    np.testing.assert_allclose(scene.metadata["ts"], 0.1 * np.arange(scene.num_steps))
    assert recorded_rate(scene) == f"{1 / step:g} Hz"


def test_uneven_stamps():
    stamps = np.cumsum([0.0, 0.13, 0.31, 0.05, 0.22, 0.4, 0.09, 0.3, 0.5])  # 2 s
    scene = resampled(from_description(at(stamps)))
    assert scene.num_steps == 21
    np.testing.assert_allclose(drive(scene), np.arange(21.0), atol=1e-9)
    assert recorded_rate(scene).endswith("Hz, uneven")


def test_one_lost_frame_at_ten_hertz_is_filled():
    stamps = np.delete(np.arange(31) * 0.1, 14)
    scene = resampled(from_description(at(stamps)))
    assert scene.num_steps == 31
    np.testing.assert_allclose(drive(scene), np.arange(31.0), atol=1e-9)
    assert recorded_rate(scene) == "10 Hz, uneven"


def test_the_jitter_of_a_clock_changes_nothing():
    stamps = np.arange(91) * 0.0996 + np.random.default_rng(0).uniform(-5e-4, 5e-4, 91)
    document = at(stamps)
    scene = resampled(from_description(copy.deepcopy(document)))
    assert scene.dt == 0.1
    same(document, to_description(scene))
    assert recorded_rate(scene) == "10 Hz"


@pytest.mark.parametrize(("step", "expected"), [(0.1, True), (0.0994, True), (0.098, False), (0.12, False)])
def test_what_counts_as_ten_hertz(step, expected):
    assert at_ten_hertz(np.arange(91) * step) == expected


def test_acceleration_is_followed_and_not_cut_into_lines():
    time, fine = np.arange(0, 4.01, 0.5), np.arange(41) * 0.1
    document = at(time)
    for track in document["tracks"].values():
        track["state"]["position"][:, 0] = 2 * time + 1.5 * time**2
        track["state"]["velocity"][:, 0] = 2 + 3 * time
    scene = resampled(from_description(document))
    np.testing.assert_allclose(scene.position[scene.ego, :, 0], 2 * fine + 1.5 * fine**2, atol=1e-9)
    np.testing.assert_allclose(scene.velocity[scene.ego, :, 0], 2 + 3 * fine, atol=1e-9)


def test_velocities_that_do_not_fit_are_no_slopes():
    document = at(np.arange(0, 4.01, 0.5))
    document["tracks"]["opponent"]["state"]["velocity"][:] = 0.0
    scene = resampled(from_description(document))
    opponent = scene.index_of("opponent")
    np.testing.assert_allclose(np.diff(scene.position[opponent, :, 0]), 1.0)


def test_headings_turn_along_the_shorter_arc():
    document = at(np.arange(0, 2.01, 0.2))
    document["tracks"]["opponent"]["state"]["heading"][:] = np.where(np.arange(11) % 2, -np.pi + 0.1, np.pi - 0.1)
    scene = resampled(from_description(document))
    heading = scene.heading[scene.index_of("opponent")]
    assert (np.abs(heading) > np.pi - 0.1001).all()
    np.testing.assert_allclose(np.abs(heading[1::2]), np.pi)  # Half-way from 3.04 to -3.04.


def test_nothing_is_invented_across_gaps_and_a_glimpse_stays():
    document = at(np.arange(0, 4.01, 0.2))
    valid = document["tracks"]["opponent"]["state"]["valid"]
    valid[[5, 6, 12, 13, 15, 16, 17, 18, 19, 20]] = False  # 14 is seen for a single sample.
    document["tracks"]["opponent"]["state"]["position"][~valid] = np.nan
    scene = resampled(from_description(document))
    row = scene.index_of("opponent")
    assert np.flatnonzero(scene.valid[row]).tolist() == [*range(9), *range(14, 23), 28]
    assert np.isfinite(scene.position[row, scene.valid[row]]).all()
    assert scene.position[row, 28, 0] - scene.position[row, 0, 0] == pytest.approx(28.0)


def test_a_glimpse_between_two_steps_takes_the_nearest():
    document = at(np.arange(0, 2.01, 0.05))
    valid = document["tracks"]["opponent"]["state"]["valid"]
    valid[:] = False
    valid[[7, 21]] = True  # 0.35 and 1.05 s.
    scene = resampled(from_description(document))
    assert scene.valid[scene.index_of("opponent")].sum() == 2


def test_agents_are_resampled_alike_however_many_at_once(monkeypatch):
    source = from_description(at(np.cumsum(np.full(40, 0.17))))
    whole = resampled(source)
    monkeypatch.setattr(resampling, "_ROWS_AT_ONCE", 1)
    alone = resampled(source)
    for name in ("position", "heading", "velocity", "size", "valid"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name))


def test_a_scene_that_gets_too_long_is_refused():
    document = at(np.arange(4000) * 1.0)
    with pytest.raises(ScenarioError, match="39,991 steps; at most 36,000"):
        resampled(from_description(document))


def test_samples_on_a_step_are_kept_to_the_digit():
    source = from_description(at(np.arange(0, 9.01, 0.2), speed=7.3))
    scene = resampled(source)
    for name in ("position", "heading", "velocity", "size", "valid"):
        np.testing.assert_array_equal(getattr(scene, name)[:, ::2], getattr(source, name))


def test_lights_and_unknown_columns_hold():
    document = at(np.arange(0, 2.01, 0.5))
    states = ["LANE_STATE_STOP", "LANE_STATE_STOP", "LANE_STATE_GO", "LANE_STATE_GO", "LANE_STATE_CAUTION"]
    document["dynamic_map_states"] = {
        "7": {"type": "TRAFFIC_LIGHT", "state": {"object_state": states}, "lane": 7, "metadata": {"track_length": 5}}
    }
    document["tracks"]["ego"]["state"]["throttle"] = np.arange(5.0)
    document["metadata"]["number_summary"] = {"num_traffic_lights_each_step": {"LANE_STATE_GO": 2}, "num_objects": 2}
    found = to_description(resampled(from_description(document)))
    light = found["dynamic_map_states"]["7"]
    red, green = ["LANE_STATE_STOP"] * 10, ["LANE_STATE_GO"] * 10
    assert light["state"]["object_state"] == [*red, *green, "LANE_STATE_CAUTION"]
    assert light["metadata"]["track_length"] == 21
    assert light["lane"] == 7
    np.testing.assert_array_equal(found["tracks"]["ego"]["state"]["throttle"], np.repeat(np.arange(5.0), 5)[:21])
    counts = found["metadata"]["number_summary"]
    assert counts["num_traffic_lights_each_step"] == {
        "LANE_STATE_STOP": 10,
        "LANE_STATE_GO": 10,
        "LANE_STATE_CAUTION": 1,
    }
    assert counts["num_objects"] == 2


def test_the_written_file_is_whole_and_reads_as_ten_hertz():
    summary = {"ego": {"object_id": "ego", "track_length": 46, "valid_length": 46, "continuous_valid_length": 46}}
    document = at(np.arange(46) * 0.2, sample_rate=0.2, current_time_index=5, object_summary=summary)
    for track in document["tracks"].values():
        track["metadata"]["track_length"] = 46
    document["tracks"]["ego"]["state"]["heading"] = [0] * 46  # A list, and whole numbers.
    document["tracks"]["ego"]["state"]["length"] = np.full((46, 1), 5)
    before = copy.deepcopy(document)
    scene = resampled(from_description(document))
    found = to_description(scene)
    same(before, document)
    assert found["length"] == 91
    assert list(found["metadata"])[: len(before["metadata"])] == list(before["metadata"])
    about = found["metadata"]
    assert (about["sample_rate"], about["track_length"], about["current_time_index"]) == (0.1, 91, 10)
    assert about["object_summary"]["ego"] == {"object_id": "ego"} | dict.fromkeys(
        ("track_length", "valid_length", "continuous_valid_length"), 91
    )
    np.testing.assert_array_equal(about[RECORDED_STAMPS], before["metadata"]["ts"])
    assert about[RECORDED_RATE] == "5 Hz"
    for track in found["tracks"].values():
        assert track["metadata"]["track_length"] == 91
        assert {len(value) for value in track["state"].values()} == {91}
    again = from_description(found)
    assert resampled(again) is again
    assert recorded_rate(again) == "5 Hz"
    same(found, to_description(again))


@pytest.mark.parametrize("unit", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("step", [0.1, 0.2, 0.5])
def test_other_units_of_time_are_recognised(unit, step):
    stamps = np.arange(0, 9.01, step)
    document = at(stamps)
    document["metadata"]["ts"] = np.int64(1_700_000_000 * unit) + np.round(stamps * unit).astype(np.int64)
    scene = resampled(from_description(document))
    assert scene.dt == 0.1
    np.testing.assert_allclose(drive(scene), np.arange(91.0), atol=1e-3)
    assert recorded_rate(scene) == f"{1 / step:g} Hz"


@pytest.mark.parametrize(("rate", "steps"), [(0.2, 46), (0.5, 19), (5, 46), (2, 19), (0.1, 91), (10, 91)])
def test_a_sample_rate_without_stamps_is_seconds_between_samples(rate, steps):
    document = at(np.arange(steps) * (9.0 / (steps - 1)), sample_rate=rate)
    del document["metadata"]["ts"]
    scene = resampled(from_description(document))
    assert scene.num_steps == 91
    np.testing.assert_allclose(drive(scene), np.arange(91.0), atol=1e-9)


def nan(stamps):
    stamps[4] = np.nan


def backwards(stamps):
    stamps[[7, 8]] = stamps[[8, 7]]


def repeated(stamps):
    stamps[8] = stamps[7]


def hole(stamps):
    stamps[20:] += 5.0


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [(nan, "is nan"), (backwards, "runs backwards"), (repeated, "repeats"), (hole, "nothing is recorded for 5.2 s")],
)
def test_stamps_of_no_use_are_one_error(break_it, reason):
    document = at(np.arange(46) * 0.2)
    break_it(document["metadata"]["ts"])
    with pytest.raises(ScenarioError, match=reason) as error:
        resampled(from_description(document, "folder/bad.pkl"))
    assert str(error.value).startswith("folder/bad.pkl: metadata: ts: ")


@pytest.mark.parametrize(
    "stamps",
    [np.arange(46) * 3.0, np.arange(46) * 1e-4, np.arange(20) * 0.2, ["a"] * 46, [10**400] * 46, [], {"a": 1}],
)
def test_stamps_that_nobody_can_read_are_one_error(stamps):
    document = at(np.arange(46) * 0.2)
    document["metadata"]["ts"] = stamps
    with pytest.raises(ScenarioError, match="metadata: ts: "):
        from_description(document)


@pytest.mark.parametrize("rate", [0.0, -0.2, np.nan, np.inf, 10**400, "5 Hz", True, [0.2], 1e-3])
def test_rates_that_nobody_can_read_are_one_error(rate):
    document = at(np.arange(46) * 0.2, sample_rate=rate)
    del document["metadata"]["ts"]
    with pytest.raises(ScenarioError, match="metadata: sample_rate: found"):
        from_description(document)


def test_stamps_that_contradict_the_motion_are_refused():
    document = at(np.arange(46) * 0.2)
    for wrong in (1.0, 0.1):  # Numbers of frames; stamps of 10 Hz that were left beside every second sample.
        document["metadata"]["ts"] = np.arange(46) * wrong
        with pytest.raises(ScenarioError, match=rf"say {wrong:g} s between samples.*in 0\.2 s"):
            resampled(from_description(document))
    del document["metadata"]["ts"]
    with pytest.raises(ScenarioError, match=r"counts as 0\.1 s between samples.*in 0\.2 s"):
        resampled(from_description(document))


def test_time_can_be_told_from_the_motion():
    assert implied_step(crossing()) == pytest.approx(0.1)
    assert implied_step(straight_road(ego_speed=0.0, opponent_speed=0.0)) is None


def test_scenes_made_in_memory_have_their_own_step():
    scene = resampled(slow(straight_road(steps=46)))
    assert scene.num_steps == 91
    np.testing.assert_allclose(np.diff(drive(scene)), 0.5)
    fit = crossing()
    assert resampled(fit) is fit


def test_every_loader_gives_ten_hertz(tmp_path):
    path = write_pickle(at(np.arange(46) * 0.2), tmp_path / "sd_slow.pkl")
    scene = load_scene(path)
    assert (scene.num_steps, scene.dt, recorded_rate(scene)) == (91, 0.1, "5 Hz")


def test_what_is_said_about_a_source():
    assert resampling_note(["10 Hz"] * 3) == ""
    assert (
        resampling_note(["5 Hz"] * 12 + ["10 Hz"] * 8)
        == "12 of 20 scenes were recorded at 5 Hz and are resampled to 10 Hz"
    )
    assert (
        resampling_note(["5 Hz", "2 Hz", "5 Hz", "10 Hz"])
        == "3 of 4 scenes are resampled to 10 Hz: recorded were 2 at 5 Hz, 1 at 2 Hz"
    )
    assert (
        resampling_note(["10 Hz, uneven", "10 Hz"])
        == "1 of 2 scenes have uneven time stamps (10 Hz on average) and are resampled to an even 10 Hz"
    )
    assert resampling_note(["10 Hz, uneven", "5 Hz", "5 Hz"]).endswith("2 at 5 Hz, 1 at 10 Hz on average (uneven)")


def test_validate_tells_the_rate_and_velocities_that_do_not_fit():
    document = at(np.arange(46) * 0.2)
    reasons = [str(finding) for finding in validate(resampled(from_description(document)))]
    assert "warning: ts: recorded at 5 Hz, resampled to 10 Hz" in reasons
    for track in document["tracks"].values():
        track["state"]["velocity"] *= 2.0
    document["metadata"]["ts"] = np.arange(46) * 0.1
    scene = resampled(from_description(document))  # 2 m a step at 20 m/s.
    assert not any("velocity" in finding.field for finding in validate(scene))
    slow = replace(scene, velocity=scene.velocity / 2)
    found = [str(finding) for finding in validate(slow)]
    assert "warning: velocity: leads from position to position in 0.2 s, but steps are 0.1 s apart" in found


def test_a_rate_in_a_strangers_file_is_not_printed():
    scene = replace(crossing(), metadata={RECORDED_RATE: "\x1b[31mrm -rf"})
    assert recorded_rate(scene) == "10 Hz"


def test_agents_that_come_late_start_at_their_own_time():
    late = Agent("late", 3, 1, 0, 1, first=45)
    scene = resampled(slow(straight_road(steps=46, opponent_from=5, extra=[late])))
    assert np.flatnonzero(scene.valid[scene.index_of("opponent")])[0] == 10
    assert np.flatnonzero(scene.valid[scene.index_of("late")]).tolist() == [90]
