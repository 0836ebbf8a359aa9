"""A few hundred damaged files of every format, and that the campaign catches the faults it is made for."""

import random

from tests.fuzz import mutators
from tests.fuzz.campaign import run
from tests.fuzz.formats import FORMATS
from tests.fuzz.traps import TRAPS

CASES = 150


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    """`make fuzz` reads thousands; these are the first of its seed 0."""
    result = run(range(CASES), seed=0, out=tmp_path)
    assert result.failures == []
    assert sum(result.counts.values()) == CASES
    assert sum(count for (_, outcome), count in result.counts.items() if outcome == "refused") > CASES / 4


def test_the_campaign_catches_what_it_is_made_for(tmp_path):
    result = run(range(24), seed=0, names=list(TRAPS), out=tmp_path, seconds=0.2)
    assert {name for name, _ in result.counts} == set(TRAPS)
    for (name, outcome), count in result.counts.items():
        # Some files are changed in no byte that counts.
        assert outcome in (name, "read"), (name, outcome, count, result.failures)
    assert {name for name, _, _, _ in result.failures} == set(TRAPS) - {"refused"}
    for name, index, outcome, _ in result.failures:
        assert (tmp_path / f"{name}-0-{index}.txt").read_text().startswith(outcome)


def test_a_case_is_the_same_whenever_it_is_drawn():
    for name in ("splits", "gpudrive", "commonroad"):
        sound = b'{"a": [1, 2, {"b": "c"}]}' if name != "commonroad" else b"<a><b><c>1</c></b></a>"
        one, two = (FORMATS[name].mutant(sound, random.Random(7)) for _ in range(2))
        assert one == two


def test_trees_and_bytes_are_changed():
    sound = {"a": [1.0, {"b": "c"}]}
    changed = [mutators.tree({"a": [1.0, {"b": "c"}]}, random.Random(seed)) != sound for seed in range(50)]
    assert sum(changed) > 40
    assert len({mutators.flip(b"some bytes", random.Random(seed)) for seed in range(50)}) > 30
