"""`traffic_analysis`: counts and sums by hand, and one whole run of each command with its picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import traffic_analysis
from harness.drawing import analysis as drawing
from harness.drawing.curves import Panel
from harness.errors import ConfigError, ScenarioError
from harness.report.analysis_tables import attention_tables, frequency_tables
from harness.traffic.analysis import frequencies
from harness.traffic.analysis.attention import (
    DISTANCES,
    PARTS,
    AttentionRun,
    AttentionSums,
    layers_of,
    look_at,
    sums_of,
)
from harness.traffic.analysis.config import AttentionConfig, ReferencesConfig, TokenFrequencyConfig
from harness.traffic.analysis.frequencies import count_motion_tokens, count_words, texts
from harness.traffic.analysis.references import retrieved_windows
from harness.traffic.analysis.results import attention_numbers
from harness.traffic.analysis.run import run_attention, run_frequencies, run_references
from scenarios.scenario import Kind
from tests.scenes import Agent, straight_road
from tests.sessions import quiet
from tests.unit.traffic.scenes import small_rosetta, tiny_vocabulary, traffic
from tests.unit.traffic.test_rosetta_model import busy
from tests.unit.traffic.test_training import Scenes

COUNTING, LOOKING = (traffic_analysis.main.members[name] for name in ("zipf", "attention"))


def test_motion_tokens_are_counted_by_kind() -> None:
    """A pedestrian who stands, a car of 8 m/s seen for 2 s, a cone that is nobody, and who else is on the road."""
    extra = [
        Agent("walker", 12.0, -6.0, 0.0, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.8)),
        Agent("car", -20.0, 3.5, 0.0, 8.0, last=20),
        Agent("cone", 30.0, 6.0, 0.0, 0.0, Kind.OTHER, (0.5, 0.5, 0.8)),
    ]
    without, scene = straight_road(), straight_road(extra=extra)
    vocabulary = tiny_vocabulary()
    counted = [count_motion_tokens([one], vocabulary) for one in (without, scene)]
    gained = counted[1].counts - counted[0].counts
    whole = (scene.num_steps - 1) // 5
    # 4 m in half a second is the fourth token (0, 1, 2, 4, 5, 6 m); standing still is the first.
    assert gained[0].tolist() == [0, 0, 0, 4, 0, 0, 0, 0]
    assert gained[1].tolist() == [whole, 0, 0, 0, 0, 0, 0, 0]
    assert not gained[2].any()
    assert counted[1].standing.tolist() == [0, 0, 0]
    groups = counted[1].groups()
    assert list(groups) == ["vehicle", "vehicle, moving", "pedestrian", "pedestrian, moving", "all kinds"]
    assert groups["vehicle, moving"].sum() == groups["vehicle"].sum() - counted[1].counts[0, 0]
    assert groups["all kinds"].sum() == counted[1].counts.sum()


def test_tokens_of_other_steps_are_not_counted() -> None:
    with pytest.raises(ScenarioError, match=r"steps of 0\.2 s; a motion token is half a second"):
        count_motion_tokens([replace(traffic(), dt=0.2)], tiny_vocabulary())


def test_words_are_counted() -> None:
    assert sorted(count_words("The car, the CAR; a_car 7 über").tolist()) == [1, 1, 2, 3]


def test_texts_have_names_of_their_own(tmp_path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text.txt").write_text(folder)
    assert texts([tmp_path / "a" / "text.txt"])["text.txt"] == "a"
    assert "continue" in texts([])[frequencies.DOCUMENTATION]
    with pytest.raises(ConfigError, match=r"b/text.txt: another text is called text.txt"):
        texts([tmp_path / "a" / "text.txt", tmp_path / "b" / "text.txt"])
    with pytest.raises(ConfigError, match="missing"):
        texts([tmp_path / "missing.txt"])


def test_attention_is_summed_by_hand() -> None:
    """One token of the model's own, then two agents and a motion token."""
    weights = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.2, 0.3, 0.5, 0.0], [0.1, 0.2, 0.3, 0.4]])
    sums = sums_of(weights, torch.tensor([0, 0, 1]))
    assert sums.tokens.tolist() == [2, 1, 0, 0, 0]
    assert sums.near[0] == pytest.approx([1.0 + 0.8, 0.7, 0, 0, 0])
    assert sums.locality == pytest.approx([2.5 / 3])
    # Distances 0, 1 and 2 – 3: the first agent is the second token of all.
    assert sums.distance[0, 0, :3] == pytest.approx([0.5 + 0.5, 0.5 + 0.3, 0.2])
    assert sums.distance[0, 1, :3] == pytest.approx([0.4, 0.3, 0.2 + 0.1])
    assert sums.between[0, 0, :3] == pytest.approx([0.5 + 0.2, 0.5 + 0.3 + 0.5, 0.0])
    assert sums.between[0, 1, :3] == pytest.approx([0.1, 0.2 + 0.3, 0.4])
    # Even attention of the second, third and fourth token of all: 2/2, 2/3, 2/4.
    assert sums.evenly == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    twice = sums.plus(sums)
    assert twice.locality == pytest.approx(sums.locality)
    assert twice.tokens.sum() == 6


def test_everything_that_is_given_is_somewhere() -> None:
    model = small_rosetta(vocabulary=tiny_vocabulary())
    run = look_at(model, [busy(), traffic()], 0, 0)
    assert run.scenes == ["busy", traffic().id]
    for sums in run.sums:
        assert sums.near.shape == (2, len(PARTS))
        for given in (sums.distance, sums.between):
            assert given.sum(-1) == pytest.approx(np.tile(sums.tokens, (2, 1)))
        assert not sums.between[:, :, 0].any(), "this model puts nothing in front"
        assert not sums.between[:, 0, 2:].any(), "agents stand before everything else"


def test_padding_changes_nothing() -> None:
    network = small_rosetta(vocabulary=tiny_vocabulary()).network
    x, part = torch.randn(2, 6, 16), torch.tensor([0, 0, 1, 1, 2, 4])
    present = torch.tensor([[True] * 6, [True, False, True, True, False, True]])
    alone = layers_of(network, x[1:, present[1]], torch.ones(1, 4, dtype=torch.bool), part[present[1]])[0]
    padded = layers_of(network, x, present, part)[1]
    for name in ("near", "distance", "between", "tokens", "even"):
        assert getattr(padded, name) == pytest.approx(getattr(alone, name), abs=1e-6), name


def test_the_same_seed_asks_the_same() -> None:
    model = small_rosetta(vocabulary=tiny_vocabulary())

    def near(decisions: int, seed: int) -> np.ndarray:
        return look_at(model, [busy()], decisions, seed).sums[0].near

    assert near(2, 0).tolist() == near(2, 0).tolist()
    assert near(2, 0).tolist() != near(2, 1).tolist()
    assert near(0, 0).sum() > near(2, 0).sum()


def test_scenes_count_alike() -> None:
    """Two scenes of different length: locality is the mean over scenes, shares are over all tokens."""

    def sums(near: float, tokens: int) -> AttentionSums:
        of_part = np.array([1.0, 0, 0, 0, 0])
        shape = (1, len(PARTS))
        distance = np.zeros((*shape, len(DISTANCES)))
        distance[0, 0, 0], distance[0, 0, 3] = near, tokens - near
        between = np.zeros((*shape, 1 + len(PARTS)))
        between[0, 0, 1] = tokens
        return AttentionSums(near * of_part[None], distance, between, tokens * of_part, 0.5 * tokens * of_part)

    found = attention_numbers(AttentionRun(["a", "b"], [sums(1.0, 2), sums(8.0, 10)]))
    assert found["layers"][0]["locality"]["mean"] == pytest.approx((0.5 + 0.8) / 2)
    assert found["layers"][0]["agents"] == pytest.approx(9 / 12)
    assert found["even"] == pytest.approx(0.5)
    assert found["distance"]["agents"][:4] == pytest.approx([9 / 12, 0, 0, 3 / 12])
    assert list(found["between"]) == ["agents"]


def test_scenes_that_cannot_be_used_are_named() -> None:
    model = small_rosetta(vocabulary=tiny_vocabulary())
    short = straight_road(steps=12, scene_id="short")
    assert list(look_at(model, [short, busy()], 1, 0).left_out) == ["short"]
    with pytest.raises(ConfigError, match="no scene could be used: short: only 12 steps"):
        look_at(model, [short], 1, 0)


def test_frequencies_from_options_to_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: Scenes(traffic(), busy()))
    (tmp_path / "mine.txt").write_text("one two two three three three")
    vocabulary = tmp_path / "tokens.safetensors"
    tiny_vocabulary().save(vocabulary)
    session = quiet(COUNTING)
    config = TokenFrequencyConfig(out=tmp_path / "run", text=(tmp_path / "mine.txt",), vocabulary=vocabulary)
    with monkeypatch.context() as few:
        few.setattr(frequencies.TokenCounts, "groups", lambda self: {frequencies.ALL_KINDS: np.array([9, 4, 0])})
        with pytest.raises(ConfigError, match="2 different tokens occur"):
            run_frequencies(config, session)
    monkeypatch.setattr(
        frequencies.TokenCounts,
        "groups",
        lambda self: {
            "vehicle": np.array([8, 4, 2]),
            "vehicle, moving": np.array([4, 2, 0]),
            "cyclist": np.array([0, 5, 0]),
            frequencies.ALL_KINDS: np.array([8, 4, 2, 0, 5, 0]),
        },
    )
    folder = run_frequencies(TokenFrequencyConfig(out=tmp_path / "again", text=(tmp_path / "mine.txt",)), session)
    result = json.loads((folder / "analysis.json").read_text())
    assert result["scenes"] == 2
    assert result["rows"]["mine.txt"]["tokens"] == 6
    assert list(result["rows"]) == ["vehicle", frequencies.ALL_KINDS, frequencies.DOCUMENTATION, "mine.txt"]
    assert result["skipped"] == {"vehicle, moving": 2, "cyclist": 1}
    assert "cyclist: skipped, 1 different tokens occur and a fit needs 3" in session.console.file.getvalue()
    assert "| vehicle | 14 | 3 |" in (folder / "tables.md").read_text()
    assert (folder / "zipf.png").stat().st_size > 10_000
    assert "| mine.txt |" in "\n".join(frequency_tables(result)[0].markdown())


def test_attention_from_options_to_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: Scenes(traffic(), busy()))
    files = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for seed, file in enumerate(files):
        small_rosetta(seed, vocabulary=tiny_vocabulary()).save(file)
    folder = run_attention(AttentionConfig(out=tmp_path / "run", weights=files, decisions=2), quiet(LOOKING))
    result = json.loads((folder / "analysis.json").read_text())
    assert list(result["models"]) == [str(file) for file in files]
    tables = attention_tables(result)
    assert len(tables) == 6
    assert [row["layer"] for row in tables[0].rows] == ["1", "2"]
    for row in tables[1].rows:
        assert sum(value for key, value in row.items() if key != "part") == pytest.approx(1.0)
    assert "even attention would give" in (folder / "tables.md").read_text()
    assert (folder / "attention.png").stat().st_size > 10_000
    drawing.draw_attention({**result, "models": {str(files[0]): result["models"][str(files[0])]}}, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
    shown: list[list[Panel]] = []
    monkeypatch.setattr(drawing, "draw_panels", lambda path, panels, **look: shown.append(panels))
    drawing.draw_attention(result, tmp_path / "b.png")
    result["models"][str(files[1])]["even"] = 0.5
    drawing.draw_attention(result, tmp_path / "b.png")
    lines = [list(panels[0].references.values()) for panels in shown]
    assert lines == [["even attention"], [f"even, {tmp_path.name}/{name}.safetensors" for name in ("one", "two")]]


def test_references_from_options_to_files(tmp_path, monkeypatch) -> None:
    slow = straight_road(ego_speed=5.0, opponent_speed=5.0, scene_id="slow")
    scenes = [straight_road(scene_id="fast"), slow, straight_road(scene_id="fast too")]
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: Scenes(*scenes))
    options = {"horizon": 91, "every": 1, "windows": 3}
    config = ReferencesConfig(out=tmp_path / "run", traffic="log", references=2, foreign=True, **options)
    folder = run_references(config, quiet(traffic_analysis.main.members["references"]))
    rows = json.loads((folder / "analysis.json").read_text())
    # One window a scene: who drives alike is nearest, and is where the other is.
    assert [[one["window"].partition(",")[0] for one in row] for row in rows] == [
        ["fast", "fast too", "slow"],
        ["slow", "fast", "fast too"],
        ["fast too", "fast", "slow"],
    ]
    assert rows[0][0]["distance"] is None
    assert rows[0][1]["distance"] == pytest.approx(0.0)
    assert rows[0][2]["distance"] > 1.0
    assert (folder / "references.png").stat().st_size > 10_000
    found = retrieved_windows(ReferencesConfig(traffic="constant_velocity", references=9, **options), scenes)
    assert [len(row) for row in found] == [4, 4, 4], "there are no more than three"
    assert found[0][0].ways.shape[1:] == (8, 2)
    # The lanes of the straight road, seen along it.
    assert {float(np.ptp(line[:, 1])) for line in found[0][0].roads} == {0.0}
    with pytest.raises(ConfigError, match="references: no scene can be used"):
        retrieved_windows(ReferencesConfig(traffic="log"), [straight_road(steps=20)])


def test_options_that_cannot_work_are_named() -> None:
    with pytest.raises(ConfigError, match="--weights"):
        AttentionConfig()
    with pytest.raises(ConfigError, match="--windows"):
        ReferencesConfig(windows=0)
    with pytest.raises(ConfigError, match="--decisions"):
        AttentionConfig(weights=("a",), decisions=-1)
