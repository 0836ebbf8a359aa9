"""Options of the rule expert that cannot work are refused by name."""

import pytest

from ego_policies.rule_expert.config import RuleExpertConfig
from harness.errors import ConfigError


@pytest.mark.parametrize(
    "name", ["window", "min_lookahead", "target_speed", "free_speed", "bend", "cornering", "horizon"]
)
def test_quantities_must_be_positive(name):
    with pytest.raises(ConfigError, match=rf"RuleExpertConfig\.{name} must be positive, got 0"):
        RuleExpertConfig(**{name: 0})


def test_a_forecast_in_bends_is_no_shorter():
    with pytest.raises(ConfigError, match="intersection_horizon"):
        RuleExpertConfig(horizon=3.0, intersection_horizon=2.0)


def test_unknown_cruises_are_refused():
    with pytest.raises(ConfigError, match="cruise must be one of"):
        RuleExpertConfig(cruise="sideways")
