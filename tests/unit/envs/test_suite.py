"""The registered environments take names as every command does; training runs on the suite's environment."""

import sys

import numpy as np
import pytest

from curricula.constant import ConstantCurriculum
from harness.envs.attacking import AttackingEnv
from harness.envs.long_term import LONG_TERM, LongTermEnv
from harness.envs.suite import AdversaryEnv, CurriculumEnv
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.schedules import CurriculumSchedule
from harness.errors import ConfigError, GauntletError
from harness.registry import make
from tests.sources import tiny_source
from tests.unit.training.fakes import make_trainer, tiny_config


def test_an_adversary_is_named_with_its_intensity_as_in_commands():
    assert AdversaryEnv(tiny_source(), adversary="rule@0.25").scheduler.current().intensity == 0.25
    assert AdversaryEnv(tiny_source(), adversary="rule", intensity=0.5).scheduler.current().intensity == 0.5


def test_a_curriculum_is_named_with_its_options_as_in_commands():
    env = CurriculumEnv(tiny_source(), adversary="rule", curriculum="constant?probability=0.25")
    assert env.scheduler.current().probability == 0.25
    more = CurriculumEnv(
        tiny_source(), adversary="rule", curriculum="constant", curriculum_options={"probability": 0.75}
    )
    assert more.scheduler.current().probability == 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "1 to 36,000"),
        ({"horizon": 1.5}, "1 to 36,000"),
        ({"horizon": "long"}, "1 to 36,000"),
        ({"horizon": 10**9}, "1 to 36,000"),
        ({"probability": "often"}, r"\[0, 1\]"),
        ({"intensity": "hard"}, "finite number"),
        ({"adversary": 5}, "adversary: expected a name"),
        ({"adversary": "builtins:print"}, r"no method plan\(\)"),
        ({"data": None}, "data: expected"),
        ({"data": ["a.pkl"]}, "data: expected"),
        ({"data": "a\0b"}, "cannot be looked up"),
        ({"data": "x" * 9999}, "cannot be looked up"),
        ({"data": "procedural", "split": np.zeros(2)}, "split is array"),
        ({"traffic": 5}, "traffic is 5; expected a name"),
        ({"observation": ["cat"]}, "unknown observation"),
        ({"reward": np.zeros(2)}, "unknown reward"),
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
        ({"seed": -1}, "seed is -1; expected a whole number"),
        ({"start_steps": 1.5}, "start_steps is 1.5; expected a whole number"),
        ({"start_steps": None}, "start_steps is None"),
        ({"render_mode": np.zeros(2)}, "render_mode array"),
        ({"isolated": np.zeros(2)}, "isolated is array"),
        ({"fit_only": "no"}, "fit_only is 'no'; expected True or False"),
        ({"buffer_size": 1.5}, "whole number up to"),
        ({"adversary_options": 5}, "expected a dictionary of them by name, got 5"),
        ({"adversary": "harness:errors"}, "expected a class or a function"),
    ],
)
def test_arguments_of_the_wrong_kind_are_one_clear_error(options, message):
    with pytest.raises(GauntletError, match=message):
        AdversaryEnv(**{"data": tiny_source(), "adversary": "rule", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum": 5}, "expected a text"),
        ({"total_steps": "many"}, "at least 1"),
        ({"curriculum_options": [1]}, "dictionary"),
    ],
)
def test_arguments_of_a_curriculum_of_the_wrong_kind_are_one_clear_error(options, message):
    with pytest.raises(ConfigError, match=message):
        CurriculumEnv(tiny_source(), **{"adversary": "rule", **options})


class Odd(ConstantCurriculum):
    """Gives what it is told to give."""

    def __init__(self, given=None, state=None):
        super().__init__()
        self._given, self._state = given, state

    def schedule(self, progress):
        return sys.exit(0) if self._given == "exit" else self._given

    def state_dict(self):
        return {"state": self._state}


@pytest.mark.parametrize("given", [None, (0.5,), (float("nan"), 1.0), (1.5, 1.0), (0.5, "hard"), "exit"])
def test_a_curriculum_that_gives_no_schedule_is_named(given):
    with pytest.raises(ConfigError, match=r"curriculum Odd: schedule\(\) (gave|failed: SystemExit)"):
        CurriculumSchedule(Odd(given), 10).current()


def test_a_state_that_no_checkpoint_could_hold_is_named_at_once():
    with pytest.raises(ConfigError, match=r"curriculum Odd: state_dict\(\) cannot be written as JSON"):
        CurriculumSchedule(Odd(state=object()), 10)


def test_the_curriculum_sets_the_intensity():
    with pytest.raises(ConfigError, match="curriculum sets the intensity"):
        CurriculumEnv(tiny_source(), adversary="rule@0.25")


def test_the_trainer_plays_what_the_suite_plays(tmp_path):
    """The same generator gives the same scene, attack and start in the trainer and in an environment of one's own."""
    from dataclasses import asdict

    from harness.commands.runs import RunDirectory

    config = tiny_config(curriculum="constant")
    with RunDirectory.create(tmp_path / "run", "train_ego", asdict(config)) as run:
        trainer = make_trainer(config, run)
        own = AttackingEnv(
            trainer.parts.engine,
            trainer.parts.engine.source,
            scenes=trainer.parts.train,
            adversary=trainer.parts.adversary,
            scheduler=CurriculumSchedule(make("curriculum", "constant"), config.steps),
            buffer=EgoBuffer(config.ego_drives),
            generators=lambda: np.random.default_rng([config.seed, 0]),
        )
        assert type(trainer.env) is AttackingEnv
        first, _ = trainer.env.reset()
        second, _ = own.reset()
        assert np.array_equal(first, second)
        assert trainer.env.scenario_index == own.scenario_index
        assert trainer.env.attack.intensity == own.attack.intensity
        assert trainer.env.rng.random() == own.rng.random()


def test_long_term_is_half_a_minute_of_traffic_that_comes_and_goes():
    made = LongTermEnv(tiny_source())
    assert (made.core.options.horizon, made.core.options.traffic) == (LONG_TERM, "idm-flow") == (311, "idm-flow")
    shorter = LongTermEnv(tiny_source(), traffic="idm-flow?inflow=9", horizon=100)
    assert (shorter.core.options.horizon, shorter.core.options.traffic) == (100, "idm-flow?inflow=9")
