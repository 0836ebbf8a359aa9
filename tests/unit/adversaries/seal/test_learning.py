"""Roll-outs, examples, networks and fits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.common.plans import with_history
from adversaries.seal.config import FitConfig
from adversaries.seal.examples import REACTIVE_STEPS, candidate_examples, reactive_examples, together
from adversaries.seal.make import make_model
from adversaries.seal.networks import LATENT, OBSERVATION, SkillModel, SkillPrior, TrackScorer
from adversaries.seal.rollouts import Rollouts, roll_out
from adversaries.seal.skills import Sequences, recorded
from adversaries.seal.tracks import closeness
from adversaries.seal.training import Plan, fit_prior, fit_scorer, fit_skills
from adversaries.seal.weights import SealModel
from harness.errors import ConfigError, RunError, WeightsError
from harness.fitting.events import Epoch
from harness.interfaces import Trajectory
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import FixedPrior, context, line
from tests.unit.adversaries.seal.toys import model, rollouts


def test_every_candidate_is_played_and_recorded() -> None:
    scene = straight_road(opponent_gap=20.0)
    futures = np.stack([line(20.0, 3.5, 0.0, 10.0), line(20.0, 0.0, 0.0, 5.0)])
    played = []

    def play(plan):
        played.append(plan)
        short = line(0.0, 0.0, 0.0, 9.0, 50)
        return Trajectory(short, np.ones(50, bool)), (35 if len(played) == 2 else -1)

    record = roll_out(FixedPrior(futures, [-1.0, -2.0]), context(scene), play)
    np.testing.assert_array_equal(record.opponent[0, :11], scene.states(1)[:11])
    np.testing.assert_array_equal(record.opponent[1, 11:], futures[1, 11:])
    np.testing.assert_array_equal(played[1].states, record.opponent[1])
    np.testing.assert_array_equal(played[0].states, with_history(context(scene), futures[0], 90)[0])
    assert record.induced_valid.sum(-1).tolist() == [50, 50]
    assert record.contact.tolist() == [-1, 35]


def test_roll_outs_survive_the_disc(tmp_path) -> None:
    record = rollouts()
    record.save(tmp_path / "a.npz")
    again = Rollouts.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.induced, record.induced)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"b\.npz"):
        Rollouts.load(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("contact", 10**6), ("contact", -2), ("dt", 0.0), ("dt", np.array([1, 2])), ("ego_size", np.zeros(5))),
        *(
            ("induced", np.nan),
            ("opponent", 1e300),
            ("induced", np.zeros((1, 91, 5))),
            ("contact", np.array(["x", "y"])),
        ),
    ],
)
def test_roll_outs_that_cannot_be_are_refused(tmp_path, name, value) -> None:
    record = rollouts()
    spoilt = value if isinstance(value, np.ndarray) else np.full_like(getattr(record, name), value)
    replace(record, **{name: spoilt}).save(tmp_path / "a.npz")
    with pytest.raises(RunError, match=r"a\.npz holds no roll-outs.*Delete it"):
        Rollouts.load(tmp_path / "a.npz")


def test_candidate_examples_say_what_came_of_each() -> None:
    tracks, targets = candidate_examples(rollouts())
    # The ego starts 20 m behind the first, which is 4 m/s slower: level with it after 5 s, as it was undisturbed.
    np.testing.assert_allclose(tracks[0, [0, 50], 0], [-20.0, 0.0], atol=1e-4)
    assert targets[0, 0] == 1.0
    assert targets[0, 1] > 0.1
    # The second drives away from 40 m ahead: never nearer than at the start, and the ego does as it would have.
    assert targets[1].tolist() == pytest.approx([float(closeness(np.hypot(40, 3.5), np.array(False))), 0.0], abs=1e-6)


def test_reactive_examples_end_with_the_window() -> None:
    tracks, targets = reactive_examples(rollouts(contact=(40, -1)), np.random.default_rng(0))
    assert tracks.shape[1:] == (REACTIVE_STEPS, 3)
    assert (targets[:, 0] == 1.0).sum() == 20, "every moment of the last 2 s before the contact"
    assert ((targets >= 0) & (targets <= 1)).all()
    again = reactive_examples(rollouts(contact=(40, -1)), np.random.default_rng(0))
    np.testing.assert_array_equal(tracks, again.tracks)


def test_the_scorer_learns_who_comes_close() -> None:
    rng = np.random.default_rng(0)
    far = rng.uniform(2.0, 40.0, 400)
    tracks = np.zeros((400, 12, 3), np.float32)
    tracks[..., 0] = far[:, None] + np.abs(np.linspace(-5, 5, 12))
    tracks[..., 2] = 1.0
    targets = np.stack([np.exp(-far / 8), np.full(400, 0.3)], -1).astype(np.float32)
    parts = [together([type(candidate_examples(rollouts()))(t, y)]) for t, y in ((tracks, targets),)]
    network = fit_scorer("scorer", parts[0], parts[0], Plan(3e-3, 30, 64, 0))
    with torch.no_grad():
        found = network(torch.as_tensor(tracks)).numpy()
    assert np.abs(found - targets).mean() < 0.04
    assert found[far.argmin(), 0] > found[far.argmax(), 0] + 0.4


def test_the_order_of_steps_does_not_matter_to_a_scorer_but_the_batch_is_kept_apart() -> None:
    torch.manual_seed(1)
    network, tracks = TrackScorer().eval(), torch.randn(4, 30, 3)
    with torch.no_grad():
        whole = network(tracks)
        torch.testing.assert_close(network(tracks.flip(1)), whole)
        torch.testing.assert_close(network(tracks[2:3]), whole[2:3])


def test_the_prior_over_skills_is_invertible_with_the_right_density() -> None:
    torch.manual_seed(2)
    prior, seen = SkillPrior().double(), torch.randn(3, OBSERVATION, dtype=torch.double)
    skill = torch.randn(3, LATENT, dtype=torch.double)
    noise, determinant = prior.noise(skill, seen)
    torch.testing.assert_close(prior.skill(noise, seen), skill)
    jacobian = torch.autograd.functional.jacobian(lambda z: prior.noise(z[None], seen[:1])[0][0], skill[0])
    assert float(determinant[0].detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


def demonstrations(count: int = 300) -> Sequences:
    """Half brake hard, half turn; what is seen tells nothing."""
    seen = np.zeros((count, 10, OBSERVATION), np.float32)
    actions = np.zeros((count, 10, 2), np.float32)
    actions[::2, :, 0], actions[1::2, :, 1] = -0.5, 0.6
    return Sequences(seen, actions)


def test_skills_reproduce_what_was_demonstrated_and_the_prior_draws_from_it() -> None:
    shown = demonstrations()
    skills = fit_skills(shown, shown, 1e-3, Plan(3e-3, 40, 64, 0))
    prior = fit_prior(skills, shown, shown, Plan(2e-3, 60, 64, 0))
    with torch.no_grad():
        mean, _ = skills.encode(*(torch.as_tensor(values) for values in shown))
        redone = skills.decode(torch.as_tensor(shown.seen), mean[:, None].expand(-1, 10, -1))
        assert (redone - torch.as_tensor(shown.actions)).abs().mean() < 0.05
        noise = torch.randn(200, LATENT, generator=torch.Generator().manual_seed(0))
        drawn = skills.decode(torch.zeros(200, OBSERVATION), prior.skill(noise, torch.zeros(200, OBSERVATION)))
    brakes, turns = drawn[:, 0] < -0.3, drawn[:, 1] > 0.4
    assert (brakes ^ turns).float().mean() > 0.75
    assert 0.25 < brakes.float().mean() < 0.75


def test_everything_is_learnt_from_roll_outs_and_tracks_and_can_be_saved(tmp_path) -> None:
    config = FitConfig(scorer_epochs=1, reactive_epochs=1, skill_epochs=1, prior_epochs=1)
    records = [rollouts(contact=(40, 45), offset=float(k)) for k in range(8)]
    tracks = [recorded(straight_road()) for _ in range(8)]
    told = []
    made = make_model(records, tracks, config, 0, info={"data": "own"}, report=told.append)
    assert [event.part for event in told if isinstance(event, Epoch)] == ["scorer", "reactive", "skills", "prior"]
    assert made.info["adversarial_skills"] >= 50
    made.save(tmp_path / "seal.safetensors")
    again = SealModel.load(tmp_path / "seal.safetensors")
    assert again.info == made.info
    for name, value in made.tensors().items():
        torch.testing.assert_close(again.tensors()[name], value, rtol=0, atol=0)
    same = make_model(records, tracks, config, 0)
    torch.testing.assert_close(same.tensors(), made.tensors(), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="lead up to a contact"):
        make_model([rollouts(contact=(-1, -1))] * 8, tracks, config, 0)


def test_unusable_weights_say_so(tmp_path) -> None:
    with pytest.raises(WeightsError, match="train_seal"):
        SealModel.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("x")
    with pytest.raises(WeightsError, match="not a readable"):
        SealModel.load(tmp_path / "text.safetensors")
    before = torch.random.get_rng_state()
    model().save(tmp_path / "fine.safetensors")
    SealModel.load(tmp_path / "fine.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before), "loading must not use up anybody's randomness"


def test_skill_networks_have_the_published_shapes() -> None:
    skills = SkillModel()
    mean, _ = skills.encode(torch.zeros(3, 10, OBSERVATION), torch.zeros(3, 10, 2))
    assert mean.shape == (3, 8)
    assert skills.decode(torch.zeros(3, OBSERVATION), mean).shape == (3, 2)


def test_scenes_of_any_length_are_learnt_from_together() -> None:
    whole = candidate_examples(rollouts())
    short = type(whole)(whole.tracks[:, :40], whole.targets)
    both = together([short, whole])
    assert both.tracks.shape == (2 * len(whole.tracks), *whole.tracks.shape[1:])
    torch.manual_seed(0)
    scorer = TrackScorer().eval()
    with torch.no_grad():
        alone = scorer(torch.as_tensor(short.tracks))
        assert torch.equal(scorer(torch.as_tensor(both.tracks[: len(short.tracks)])), alone)
