"""What a training run leaves for its reader: tables, curve, playback, and the list of where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from harness.commands.printing import listed
from harness.commands.runs import RunDirectory
from harness.drawing.curves import draw_learning
from harness.drawing.playback import save_playback
from harness.files import JsonDict
from harness.report.training_tables import terminal_table, write_tables
from harness.training.config import TrainConfig
from harness.training.evaluation import Summary, summarise

if TYPE_CHECKING:
    from harness.training.rounds import TrainingLoop

CURVE: Final = "learning_curve.png"
FILES: Final = {
    "results.md": "last evaluation, as a table",
    "curve.csv": "every evaluation",
    "results.json": "every evaluation, with configuration and versions",
    CURVE: "learning curve",
    "playback_normal.gif": "a test scene as recorded",
    "playback_adversarial.gif": "the same scene attacked",
    "co_trained": "experts that went on learning against the ego, for --adversary sage:",
    "policy.zip": "the policy, for Stable-Baselines3's TD3.load",
    "policy.safetensors": "the policy, for --sut",
    "episodes.jsonl": "every training episode",
    "evaluation.jsonl": "every evaluated episode",
    "validation.jsonl": "every episode on validation scenes, in the fast engine",
    "metrics.jsonl": "losses and speed",
    "tensorboard": "tensorboard --logdir",
}


def title_of(config: TrainConfig) -> str:
    """What distinguishes this run, in one line."""
    attacks = "without attacks" if config.adversary == "none" else f"against {config.adversary} ({config.curriculum})"
    on = f"{Path(config.data).name}, {config.steps:,} steps, seed {config.seed}"
    return f"{config.algorithm.upper()} trained {attacks} on {on}"


def report(config: TrainConfig, run: RunDirectory, trainer: TrainingLoop, console: Console) -> None:
    """Write tables and pictures, and print the last evaluation.

    Raises:
        GauntletError: The folder cannot be written.
    """
    summaries = summarise(run.records("evaluation"), config.seed)
    if not summaries:
        console.print("no evaluation yet: nothing to report")
        return
    title = f"{title_of(config)}, {config.protocol} protocol, evaluated against {config.eval_adversary}"
    progress = trainer.progress
    about = {
        **run.info,
        "steps": progress.step,
        "episodes": progress.episode,
        "failed_episodes": progress.failed_episodes,
        "refused_attacks": progress.refused_attacks,
        "seconds": progress.seconds,
    }
    write_tables(run.path, summaries, title, about)
    if config.pictures:
        draw(config, run, trainer, summaries, console)
    last = [row for row in summaries if row.step == summaries[-1].step]
    console.print(terminal_table(last, title).rich(turned=True))
    for row in last:
        if row.failed:
            console.print(
                f"[yellow]{row.failed} of {row.failed + row.scenes} episodes {row.place} failed[/] (evaluation.jsonl)"
            )
    if config.attacks != "all":
        console.print(f"{progress.refused_attacks:,} attacks were not {config.attacks}, and not played in training")
    for line in listed(run.path, FILES):
        console.print(line, markup=False, soft_wrap=True)


def draw(
    config: TrainConfig, run: RunDirectory, trainer: TrainingLoop, summaries: list[Summary], console: Console
) -> None:
    """Learning curve, and playback of one test scene as recorded and attacked.

    Raises:
        RunError: The folder cannot be written.
    """
    validated = summarise(run.records("validation"), config.seed)
    draw_learning(validated or summaries, run.path / CURVE, title_of(config), "validation" if validated else "test")
    scene = telling_scene(run.records("evaluation"))
    if scene is None:
        return
    with console.status("drawing playback"):
        for stage, episode in trainer.replay(scene).items():
            save_playback(trainer.scene(scene), episode, trainer.ego_size, run.path / f"playback_{stage}.gif")


def telling_scene(records: list[JsonDict]) -> str | None:
    """The test scene of the last evaluation that shows most: safe as recorded, hit by the opponent under attack.

    Failing that, an attacked scene in which the ego came far; None if no attacked episode succeeded.
    """
    last = max((record["step"] for record in records), default=None)
    counted = [row for row in records if row["step"] == last and not row["error"] and not row.get("horizon", 0)]
    rows = {(row["scene"], row["stage"]): row for row in counted}
    best: tuple[bool, bool, float, str] | None = None
    for (scene, stage), row in sorted(rows.items()):
        normal = rows.get((scene, "normal"))
        if stage != "adversarial" or normal is None or not row["attacked"]:
            continue
        key = (bool(row["opponent_hit"]), not normal["collision"], normal["completion"] or 0.0, scene)
        best = key if best is None or key > best else best
    return None if best is None else best[-1]
