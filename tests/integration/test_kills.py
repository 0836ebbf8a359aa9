"""A few kills of each command; `python -m tests.kills` makes as many as are wanted."""

import pytest

from tests.kills import CASES, campaign


@pytest.mark.slow
@pytest.mark.parametrize("verb", sorted(CASES))
def test_killed_runs_are_equal_to_undisturbed_ones(verb, tmp_path):
    result = campaign(CASES[verb], tmp_path, kills=4, seed=1)
    assert result.faults == []
    assert result.kills == 4
