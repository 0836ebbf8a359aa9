"""All pictures of a simulated scene: the fan of its roll-outs, and moving pictures of the first ones."""

from __future__ import annotations

from pathlib import Path

from harness.drawing.playback import View, save_playback
from harness.drawing.rollouts import draw_fan
from harness.traffic.recording import as_episode
from harness.traffic.rollouts import SimulatedScene
from scenarios.scenario import Scenario


def draw_simulated(
    scenario: Scenario, simulated: SimulatedScene, folder: Path, *, model: str, seed: int, gifs: int
) -> None:
    """Write `fan.png` and `rollout_N.gif`.

    Args:
        scenario: The scene.
        simulated: Roll-outs of the scene.
        folder: Where; it exists.
        model: Name of the traffic model, for titles.
        seed: Seed of the roll-outs.
        gifs: Number of moving pictures; no more than there are roll-outs.

    Raises:
        RunError: The folder cannot be written.
    """
    title = f"{scenario.id}: {simulated.rollouts} roll-outs of {model}"
    draw_fan(scenario, simulated, folder / "fan.png", title=title)
    for number in range(min(gifs, simulated.rollouts)):
        episode = as_episode(scenario, simulated, number, model, seed)
        view = View(caption=f"{model}, roll-out {number}", whole=simulated.valid is not None)
        save_playback(scenario, episode, scenario.box(scenario.ego), folder / f"rollout_{number}.gif", view)
