"""`import gauntlet`: quick, registers the ids, and its calls leave what the commands leave."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs import registration

import gauntlet
from gauntlet import __main__ as command
from gauntlet import calls
from gauntlet.outcome import Run
from harness import cli
from harness.errors import ConfigError, RunError
from scenarios.export import write_folder
from tests.scenes import crossing

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_folder([crossing(interest=("ego", "opponent"))], folder)
    return folder


def test_the_import_brings_gymnasium_and_nothing_heavy():
    heavy = ("torch", "metadrive", "matplotlib", "stable_baselines3", "scipy", "numba", "tyro", "rich")
    code = f"import sys, gauntlet, gymnasium; print([name for name in {heavy!r} if name in sys.modules])\n"
    code += "print('Gauntlet/Adversary-v0' in gymnasium.registry)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def test_gymnasium_finds_the_ids_by_the_name_of_the_package():
    # What `gymnasium.make` asks; it would start the simulator.
    spec = registration._find_spec("gauntlet:Gauntlet/Adversary-v0")
    assert spec.entry_point == "harness.envs.suite:AdversaryEnv"


def test_the_namespace_may_be_left_out(monkeypatch):
    asked = []
    monkeypatch.setattr(gymnasium, "make", lambda name, **options: asked.append((name, options)))
    monkeypatch.setattr(gymnasium, "make_vec", lambda name, **options: asked.append((name, options)))
    gauntlet.make("Adversary-v0", adversary="cat")
    gauntlet.make("Gauntlet/LogReplay-v0")
    gauntlet.make_vec("Fast-v0", num_envs=8)
    assert asked == [
        ("Gauntlet/Adversary-v0", {"adversary": "cat"}),
        ("Gauntlet/LogReplay-v0", {}),
        ("Gauntlet/Fast-v0", {"num_envs": 8}),
    ]


def test_an_attack_gives_its_rows_and_prints_nothing(scenes, tmp_path, capsys):
    run = gauntlet.attack(["rule", "none"], data=str(scenes), split="all", out=tmp_path / "run")
    assert [row["adversary"] for row in run.rows] == ["rule", "none"]
    assert run.rows[0]["success"][0] == 1.0
    assert json.loads((run.folder / "summary.json").read_text()) == list(run.rows)
    assert capsys.readouterr() == ("", "")


def test_a_benchmark_plays_a_policy_of_the_main_script_in_this_process(scenes, tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        textwrap.dedent(f"""
            import gauntlet
            def braking(observation):
                return [0.0, -1.0]
            if __name__ == "__main__":
                run = gauntlet.benchmark([braking, "replay"], "none", data={str(scenes)!r}, split="all", out="run")
                print([(row["sut"], row["columns"]["completion"]["value"] > 0.5) for row in run.rows])
        """)
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines()[-1] == "[('braking', False), ('replay', True)]", done.stderr


def test_other_processes_are_refused_for_what_they_cannot_find():
    with pytest.raises(ConfigError, match="this process alone"):
        gauntlet.benchmark("__main__:Mine", executor="process")


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match="expected one of best"):
        gauntlet.train("bset")


def test_a_training_gives_its_evaluations(monkeypatch, tmp_path):
    seen = []

    def trained(config, session):
        seen.append(config)
        config.out.mkdir()
        (config.out / "results.json").write_text('{"evaluations": [{"stage": "normal"}]}')
        return 0

    monkeypatch.setattr("harness.training.run.train", trained)
    run = gauntlet.train("quick", adversary="cat@0.5", out=tmp_path / "run", steps=100, td3={"hidden": 8})
    assert run == Run(tmp_path / "run", ({"stage": "normal"},))
    assert (seen[0].adversary, seen[0].steps, seen[0].td3.hidden) == ("cat@0.5", 100, 8)


def test_a_training_that_is_stopped_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.training.run.train", lambda config, session: 130)
    with pytest.raises(RunError, match="--resume"):
        gauntlet.train("quick", out=tmp_path / "run")


def test_the_package_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "gauntlet", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "train_ego" in done.stdout
    assert command.main is cli.main


def test_quiet_sessions_keep_warnings_off_too(capsys):
    calls._session("attack", verbose=False).warn("no")
    calls._session("attack", verbose=True).say("yes")
    assert capsys.readouterr() == ("yes\n", "")
