"""The data model's own small rules."""

from scenarios.scenario import name_seed


def test_a_seed_follows_the_name_and_nothing_else():
    names = ["300", "399", "a", "b", "", "ä"]
    assert len({name_seed(name) for name in names}) == len(names)
    assert all(0 <= name_seed(name) < 2**31 for name in names)
    assert name_seed("300") == 638915771, "a seed is the same on every machine and in every version"
