"""Scenes that come with the package are those that the generator makes, and nobody can tell them apart."""

import pytest

from scenarios.procedural import ProceduralConfig, generator, pool, shipped
from scenarios.procedural.generator import INDEX, MAPPING, SUMMARY, generate
from scenarios.procedural.pool import SimulationResult, SimulationTask, canonical_pickle, file_name, task_of, work

DEFAULT = ProceduralConfig(train=0, test=3)
SHORT = ProceduralConfig(train=0, test=3, max_vehicles=12, duration=20.0, warm_up=4.0)


def test_the_archive_holds_what_the_generator_makes():
    """If this fails, the generator gives something else than its version did: raise it, and ship again."""
    known = shipped.shipped(DEFAULT)
    assert list(known) == [SimulationTask("test", 0), SimulationTask("test", 1)]
    made, kept = work(DEFAULT, SimulationTask("test", 0)), known[SimulationTask("test", 0)]
    assert len(made.scenes) == 2
    assert [scene[:2] for scene in made.scenes] == [scene[:2] for scene in kept.scenes]
    metadata = [[canonical_pickle(scene[2]) for scene in result.scenes] for result in (made, kept)]
    assert metadata[0] == metadata[1]


def test_no_simulation_runs_for_shipped_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "work", None)
    monkeypatch.setattr(generator, "Pool", lambda config, workers: pool.Pool(config, 1, lambda config, task: 1 / 0))
    folder = generate(DEFAULT, tmp_path / "scenes", workers=1)
    assert [path.name[-8:-4] for path in sorted(folder.glob("sd_*"))] == ["00-0", "00-1", "01-0"]
    with pytest.raises(ZeroDivisionError):
        generate(ProceduralConfig(train=0, test=5), folder, workers=1)


def test_other_generators_have_none():
    assert shipped.shipped(SHORT) == {}
    assert task_of(file_name("train", 17, 1)) == SimulationTask("train", 17)


def test_a_folder_that_began_with_shipped_scenes_is_the_same(tmp_path, monkeypatch):
    archive = tmp_path / "archive.tar.xz"
    shipped.ship(SHORT, [work(SHORT, SimulationTask("test", 0))], archive)
    again = tmp_path / "again.tar.xz"
    shipped.ship(SHORT, [work(SHORT, SimulationTask("test", 0))], again)
    assert archive.read_bytes() == again.read_bytes()
    plain = generate(SHORT, tmp_path / "plain", workers=1)
    monkeypatch.setattr(generator, "shipped", lambda config: shipped.shipped(config, archive))
    begun = generate(SHORT, tmp_path / "begun", workers=1)
    for name in (INDEX, MAPPING, SUMMARY, *(path.name for path in plain.glob("sd_*"))):
        assert (begun / name).read_bytes() == (plain / name).read_bytes()


def test_a_simulation_that_is_not_shipped_is_simulated_and_so_are_those_after_it(tmp_path, monkeypatch):
    first, third = (
        SimulationResult(SimulationTask("test", n), [(file_name("test", n, 0), b"s", {})], "") for n in (0, 2)
    )
    monkeypatch.setattr(generator, "shipped", lambda config: {result.task: result for result in (first, third)})
    ran = []

    def simulated(config, task):
        ran.append(task.number)
        return SimulationResult(task, [(file_name(task.split, task.number, 0), b"t", {})], "")

    monkeypatch.setattr(generator, "Pool", lambda config, workers: pool.Pool(config, 1, simulated))
    folder = generate(SHORT, tmp_path / "scenes", workers=1)
    assert ran == [1, 2]
    assert [path.read_bytes() for path in sorted(folder.glob("sd_*"))] == [b"s", b"t", b"t"]
