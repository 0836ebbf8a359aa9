"""Merging by hand: TIES, task arithmetic, spheres, the simplex, and the adversary that uses them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.sage.adversary import SageAdversary
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.experts import Experts, merger_of, read_coefficients, save_expert
from adversaries.sage.merging import Merger, arithmetic, geodesic, join, linear, simplex, split, ties, trim
from adversaries.sage.steering import Dial, flatten, weights_at
from harness.errors import ConfigError, WeightsError
from tests.scenes import crossing
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import small_network, small_prior


def layers(**values: list[float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(numbers) for name, numbers in values.items()}


def listed(found) -> list[float]:
    return join(found).tolist()


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


def test_layers_are_sub_modules_and_join_to_the_vector_again() -> None:
    network = small_network()
    flat = flatten(network)
    found = split(network, flat)
    assert torch.equal(join(found), flat)
    assert found["score_goal"].tolist() == [
        *network.score_goal.weight.reshape(-1).tolist(),
        *network.score_goal.bias.tolist(),
    ]


def test_linear_and_arithmetic_by_hand() -> None:
    one, two, three = layers(a=[4.0, 0.0], b=[8.0]), layers(a=[0.0, 4.0], b=[4.0]), layers(a=[8.0, 8.0], b=[0.0])
    assert listed(linear([one, two, three], [0.5, 0.25, 0.25])) == [4.0, 3.0, 5.0]
    # The first expert's layer a counts double, the second one's layer b not at all.
    assert listed(arithmetic([one, two], [0.5, 0.5], [{"a": 2.0}, {"b": 0.0}])) == [4.0, 2.0, 4.0]


def test_trimming_keeps_the_largest_of_all_layers() -> None:
    task = layers(a=[1.0, -5.0], b=[3.0, 0.5, -2.0])
    assert listed(trim(task, 0.4)) == [0.0, -5.0, 3.0, 0.0, 0.0]
    assert listed(trim(task, 1.0)) == listed(task)
    # However low the density, one weight is kept.
    assert listed(trim(task, 0.01)) == [0.0, -5.0, 0.0, 0.0, 0.0]


def test_ties_elects_signs_and_averages_who_agrees() -> None:
    one, two = layers(a=[4.0, 4.0, -1.0, 0.0, 2.0]), layers(a=[2.0, -1.0, 3.0, 0.0, 0.0])
    # Agreement: the mean. Conflict: the larger side alone. Nobody: nought. Kept by one alone: undiminished.
    assert listed(ties([one, two], [0.5, 0.5])) == [3.0, 4.0, 3.0, 0.0, 2.0]
    # With a share of 0.9 for the second, ¼ of it outweighs; the mean of agreeing ones is weighted.
    assert listed(ties([one, two], [0.1, 0.9])) == pytest.approx([2.2, -1.0, 3.0, 0.0, 2.0])
    assert listed(ties([one, two], [0.0, 1.0])) == [2.0, -1.0, 3.0, 0.0, 0.0]


def test_a_sphere_keeps_lengths_where_a_line_cuts_the_corner() -> None:
    one, two = layers(a=[2.0, 0.0], b=[1.0]), layers(a=[0.0, 4.0], b=[3.0])
    middle = geodesic([one, two], [0.5, 0.5])
    # At a right angle: half way in direction, and the mean of the lengths 2 and 4.
    assert middle["a"].tolist() == pytest.approx([3 / np.sqrt(2)] * 2)
    assert middle["b"].tolist() == pytest.approx([2.0])
    third = geodesic([one, two], [2 / 3, 1 / 3])["a"]
    assert third.tolist() == pytest.approx([8 / 3 * np.cos(np.pi / 6), 8 / 3 * np.sin(np.pi / 6)])
    for corner, task in (([1.0, 0.0], one), ([0.0, 1.0], two)):
        assert listed(geodesic([one, two], corner)) == pytest.approx(listed(task))


def test_the_mean_of_three_on_a_sphere_knows_no_order() -> None:
    axes = [layers(a=row) for row in np.eye(3).tolist()]
    assert listed(geodesic(axes, [1 / 3] * 3)) == pytest.approx([1 / np.sqrt(3)] * 3)
    shares = [0.5, 0.3, 0.2]
    forward, backward = geodesic(axes, shares), geodesic(axes[::-1], shares[::-1])
    assert listed(forward) == pytest.approx(listed(backward), abs=1e-6)
    assert float(forward["a"].norm()) == pytest.approx(1.0)


def test_without_a_direction_the_line_is_taken() -> None:
    still, there, back = layers(a=[0.0, 0.0]), layers(a=[2.0, 0.0]), layers(a=[-1.0, 0.0])
    assert listed(geodesic([still, there], [0.5, 0.5])) == [1.0, 0.0]
    assert listed(geodesic([there, back], [0.75, 0.25])) == [1.25, 0.0]


def test_points_of_the_simplex() -> None:
    assert simplex(2, 2) == [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    points = simplex(4, 3)
    assert len(points) == len(set(points)) == 15
    assert {(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.25, 0.5, 0.25)} <= set(points)
    assert all(sum(point) == pytest.approx(1.0) for point in points)


def test_the_straight_line_is_that_of_steering() -> None:
    ours = experts()
    merger = merger_of(ours)
    for intensity in (-0.5, 0.0, 0.3, 1.0, 1.5):
        torch.testing.assert_close(merger.dialled(intensity), weights_at(ours.vectors, intensity))


@pytest.mark.parametrize("merge", ["linear", "ties", "geodesic", "task"])
def test_the_corners_of_the_simplex_are_the_experts(merge) -> None:
    ours, third = experts(), small_network(3)
    merger = merger_of(ours, third, merge, 1.0, [{}] * 3 if merge == "task" else ())
    for (intensity, share), network in (((1.0, 0.0), ours.adv), ((0.0, 0.0), ours.real), ((0.4, 1.0), third)):
        torch.testing.assert_close(merger.dialled(intensity, share), flatten(network), atol=1e-6, rtol=1e-5)
    # Between two experts the third has no say.
    two = merger_of(ours, None, merge, 1.0, [{}] * 2 if merge == "task" else ())
    torch.testing.assert_close(merger.dialled(0.3), two.dialled(0.3))


def test_beyond_the_end_its_own_vector_is_followed() -> None:
    merger = Merger(layers(a=[1.0, 1.0]), (layers(a=[2.0, 0.1]), layers(a=[0.0, 4.0])), "ties", 0.5)
    assert merger.dialled(1.5).tolist() == [1.0 + 1.5 * 2.0, 1.0]
    assert merger.dialled(-0.5).tolist() == [1.0, 1.0 + 1.5 * 4.0]


def test_impossible_mergers_are_refused() -> None:
    task = layers(a=[1.0])
    for wrong in ({"merge": "salad"}, {"density": 0.0}, {"merge": "task"}):
        with pytest.raises(ConfigError):
            Merger(task, (task, task), **wrong)
    with pytest.raises(ConfigError, match="'b'"):
        Merger(task, (task, task), "task", coefficients=({"b": 1.0}, {}))
    for shares in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(ConfigError, match="sum 1"):
            Merger(task, (task, task)).weights(shares)


def test_the_adversary_merges_as_asked(tmp_path) -> None:
    ours, scene = experts(), crossing(opponent_delay=0.5)
    case = replace(context(scene), intensity=0.5)

    def log_prob(**options):
        return SageAdversary(ours, **options).plan(case).scores["log_prob"]

    plain = log_prob()
    assert not np.array_equal(plain, log_prob(merge="ties"))
    assert not np.array_equal(plain, log_prob(merge="geodesic"))
    file = tmp_path / "coefficients.json"
    file.write_text(json.dumps({"adv": {"score_goal": 1.0}, "real": {}}))
    np.testing.assert_allclose(log_prob(merge="task", coefficients=str(file)), plain, atol=1e-5)
    file.write_text(json.dumps({"adv": {"score_goal": 3.0}, "real": {}}))
    assert not np.array_equal(plain, log_prob(merge="task", coefficients=str(file)))
    # A third expert, from its file; with the whole share it alone proposes, whatever λ is.
    prior = GoalBackbone(ours.prior)
    third = save_expert(tmp_path, "novel", GoalBackbone(ours.prior, module=small_network(3)), prior, {})
    alone = log_prob(third=str(third), third_share=1.0)
    as_both = SageAdversary(Experts(ours.prior, small_network(3), small_network(3), {})).plan(case)
    np.testing.assert_allclose(alone, as_both.scores["log_prob"], atol=1e-5)


def test_impossible_options_of_merging_are_refused(tmp_path) -> None:
    ours, network = experts(), small_network(3)
    for wrong in (
        {"merge": "salad"},
        {"merge": "task"},
        {"coefficients": "file"},
        {"third_share": 0.5},
        {"third": network, "third_share": 1.5},
        {"merge": "ties", "mixing": "logits"},
        {"third": network, "extrapolation": "direct"},
    ):
        with pytest.raises(ConfigError):
            SageAdversary(ours, **wrong)
    stranger = save_expert(tmp_path, "novel", GoalBackbone(small_prior(7)), GoalBackbone(small_prior(7)), {})
    with pytest.raises(WeightsError, match="aligned from prior"):
        SageAdversary(ours, third=stranger)
    file = tmp_path / "coefficients.json"
    for text in ('{"adv": {}}', '{"adv": {"a": "x"}, "real": {}}', '{"adv": {"a": true}, "real": {}}', "[]"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="coefficients by layer"):
            read_coefficients(file, 2)


def test_kept_candidates_are_known_by_how_they_were_merged() -> None:
    ours = experts()
    makers = [SageAdversary(ours), SageAdversary(ours, merge="ties"), SageAdversary(ours, merge="ties", density=0.5)]
    third = {"third": small_network(3)}
    makers += [SageAdversary(ours, **third, third_share=share) for share in (0.2, 0.4)]
    assert len({maker._maker() for maker in makers}) == len(makers)


def test_the_dial_takes_other_weights() -> None:
    ours = experts()
    dial = Dial(small_network(9), ours.vectors, weights=lambda intensity: ours.vectors.reference * intensity)
    torch.testing.assert_close(flatten(dial.turn(2.0)), 2 * ours.vectors.reference)
