"""Playback of recorded episodes: a moving picture from above, drawn from the record alone (no simulator, no window).

The map is drawn once per scene on a canvas that covers the drive; every frame is a crop of it with boxes on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness.drawing.canvas import Extent, PixelCanvas, colour_of, draw_box, draw_map, pieces
from harness.drawing.palette import LIGHT, rgb
from harness.files import write_atomically
from harness.interfaces import Episode
from harness.traffic.slots import as_played
from scenarios.scenario import CURRENT_STEP, Scenario

CANDIDATE_ALPHA: Final = 0.5
"""How faint candidates are."""
GUTTER: Final = 4
"""Pixels between playbacks that stand beside each other."""


@dataclass(frozen=True, slots=True)
class View:
    """How a playback looks.

    Attributes:
        pixels: Side of the square picture.
        metres: Side of the square that it shows, around the ego.
        place: Middle of the square, m, where it stays in one place instead: smaller files.
        smooth: Drawn so many times larger, then scaled down (no jagged edges).
        fps: Frames per second; one frame is one step, so 10 is real time.
        caption: Words beside the scene's name; by default who attacks and how far the ego has come.
        named: Whether the scene's name stands in the picture.
        letters: Height of the letters, pixels.
        whole: Whether it goes on after the ego has left, for as long as anybody is there.
    """

    pixels: int = 440
    metres: float = 90.0
    place: tuple[float, float] | None = None
    smooth: int = 2
    fps: int = 10
    caption: str = ""
    named: bool = True
    letters: int = 10
    whole: bool = False

    @property
    def scale(self) -> float:
        """Pixels per metre while drawing."""
        return self.pixels * self.smooth / self.metres


def frames(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], view: View | None = None
) -> Iterator[Image.Image]:
    """One picture per step of an episode, those who entered it included.

    Args:
        scenario: The scene as recorded, for map and sizes.
        episode: The record.
        ego_size: Length and width of the simulated ego, m.
        view: How it looks.
    """
    view = view or View()
    present = np.flatnonzero(episode.ego.valid)
    if len(present) == 0:
        return
    scenario = as_played(scenario, episode.newcomers)
    shown = present
    if view.whole:
        shown = np.arange(present[0], int(np.flatnonzero(episode.agents_valid.any(0))[-1]) + 1)
    ego, half = episode.ego.states, np.full(2, view.metres / 2)
    middles = ego[:, :2] if view.place is None else np.broadcast_to(view.place, (len(ego), 2))
    low, high = middles[present].min(0), middles[present].max(0)
    # A metre more than needed: a crop never leaves the canvas by rounding.
    canvas = PixelCanvas(Extent((low + high) / 2, (high - low) / 2 + half + 1.0), view.scale)
    draw_map(canvas, scenario)
    canvas.lines(pieces(scenario.position[scenario.ego], scenario.valid[scenario.ego]), LIGHT.ego, 0.4, alpha=0.4)
    if episode.route is not None:
        canvas.lines([episode.route], LIGHT.ego, 0.25, alpha=0.3)
    _draw_plan(canvas, episode)
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    for step in shown.tolist():
        # Where the ego was last, once it has left.
        seen = int(present[np.searchsorted(present, step, side="right") - 1])
        part = canvas.part(Extent(middles[seen], half))
        for agent in np.flatnonzero(episode.agents_valid[:, step]).tolist():
            if agent != scenario.ego:
                draw_box(part, episode.agents[agent, step], sizes[agent], colour_of(scenario, agent))
        if episode.ego.valid[step]:
            draw_box(part, ego[step], ego_size, LIGHT.ego)
        picture = part.image.resize((view.pixels, view.pixels), Image.Resampling.BILINEAR)
        _write(picture, scenario, episode, step, view, ended=step == shown[-1])
        yield picture


def _draw_plan(canvas: PixelCanvas, episode: Episode) -> None:
    """Candidates faintly, the chosen plan over them."""
    plan = episode.plan
    if plan is None:
        return
    ahead = np.flatnonzero(plan.valid)
    ahead = ahead[ahead >= CURRENT_STEP]
    if plan.candidates is not None:
        canvas.lines(list(plan.candidates[:, ahead]), LIGHT.candidate, 0.2, alpha=CANDIDATE_ALPHA)
    canvas.lines([plan.states[ahead]], LIGHT.opponent, 0.45, alpha=0.75)


def _write(picture: Image.Image, scenario: Scenario, episode: Episode, step: int, view: View, *, ended: bool) -> None:
    """Scene, time and what has happened so far; in the last picture how it ended."""
    pen, caption = ImageDraw.Draw(picture), view.caption
    font, line = ImageFont.load_default(size=view.letters), round(1.4 * view.letters)
    attack = f"attacked by {episode.adversary}" if episode.plan is not None else "as recorded"
    done = episode.route_completion
    end = f"   completed {done:.0%}" if ended and not caption and np.isfinite(done) else ""
    if ended and not caption and (episode.off_road or episode.arrived):
        end += "   LEFT THE ROAD" if episode.off_road else "   arrived"
    end += "   end of the map" if ended and episode.end_of_map else ""
    name = f"{scenario.id}  " if view.named else ""
    pen.text((8, 6), f"{name}{caption or attack}", fill=LIGHT.ink, font=font)
    pen.text((8, 6 + line), f"{step * scenario.dt:4.1f} s{end}", fill=LIGHT.ink, font=font)
    hits = [hit for hit in (episode.crash_contact, episode.crash_geometry) if hit is not None]
    if hits and step >= min(hits):
        pen.text((8, 6 + 2 * line), f"COLLISION at {min(hits) * scenario.dt:.1f} s", fill=LIGHT.opponent, font=font)


def save_playback(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], path: Path, view: View | None = None
) -> None:
    """Write an episode as an animated GIF.

    Args:
        scenario, episode, ego_size, view: See `frames`.
        path: Ends in `.gif`.

    Raises:
        RunError: The file cannot be written.
    """
    view = view or View()
    pictures = list(frames(scenario, episode, ego_size, view))
    if pictures:
        _save(pictures, path, view.fps)


def save_wall(walls: Sequence[Iterable[Image.Image]], path: Path, *, columns: int, fps: int) -> None:
    """Write several playbacks beside each other as one animated GIF; one that ends waits for the others.

    Args:
        walls: The frames of each playback, row by row, all of one size.
        path: Ends in `.gif`.
        columns: Playbacks beside each other.
        fps: Frames per second.

    Raises:
        RunError: The file cannot be written.
        ValueError: There is no playback, or one of them has no frame.
    """
    shown = [list(pictures) for pictures in walls]
    if not shown or not all(shown):
        raise ValueError(f"a wall needs playbacks with frames, found {[len(pictures) for pictures in shown]}")
    width, height = shown[0][0].size
    whole = ((width + GUTTER) * columns - GUTTER, (height + GUTTER) * -(-len(shown) // columns) - GUTTER)
    made = []
    for step in range(max(map(len, shown))):
        made.append(Image.new("RGB", whole, LIGHT.halo))
        for place, pictures in enumerate(shown):
            corner = (place % columns * (width + GUTTER), place // columns * (height + GUTTER))
            made[-1].paste(pictures[min(step, len(pictures) - 1)], corner)
    _save(made, path, fps)


def _save(pictures: Sequence[Image.Image], path: Path, fps: int) -> None:
    # One palette for all frames: small files, and no flicker. It holds whoever leaves the picture too.
    sample = np.concatenate([np.asarray(picture) for picture in pictures[:: max(1, len(pictures) // 6)]])
    known = [part for colour in (LIGHT.ego, LIGHT.opponent) for part in rgb(colour)]
    palette = Image.fromarray(sample).quantize(62, dither=Image.Dither.NONE)
    palette.putpalette([*(palette.getpalette() or [])[: 62 * 3], *known])
    images = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [1000 // fps] * (len(images) - 1) + [1500]

    def write(beside: Path) -> None:
        # Optimised: what is as in the frame before is left out, which is most of a picture that stays in one place.
        images[0].save(beside, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)

    write_atomically(path, write)
