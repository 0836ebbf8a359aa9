"""Playback of recorded episodes: a moving picture from above, drawn from the record alone (no simulator, no window).

The map is drawn once per scene on a canvas that covers the drive; every frame is a crop of it with boxes on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from harness.files import write_atomically
from harness.geometry import box_corners
from harness.interfaces import Episode
from scenarios.scenario import CURRENT_STEP, Kind, MapFeature, Scenario

Floats = NDArray[np.float64]

BACKGROUND: Final = (247, 247, 244)
LANE: Final = (221, 223, 228)
LINE: Final = (176, 178, 186)
EDGE: Final = (72, 72, 80)
CROSSWALK: Final = (232, 226, 208)
ROUTE: Final = (150, 205, 170)
EGO: Final = (28, 132, 84)
OPPONENT: Final = (200, 44, 48)
VEHICLE: Final = (122, 142, 178)
PERSON: Final = (214, 150, 60)
CANDIDATE: Final = (240, 190, 182)
PLAN: Final = (222, 96, 84)
TEXT: Final = (40, 40, 46)
LANE_WIDTH: Final = 3.5
"""Width that a lane's centre line is drawn with, m."""


@dataclass(frozen=True, slots=True)
class View:
    """How a playback looks.

    Attributes:
        pixels: Side of the square picture.
        metres: Side of the square that it shows, around the ego.
        smooth: Drawn so many times larger, then scaled down (no jagged edges).
        fps: Frames per second; one frame is one step, so 10 is real time.
        caption: Words beside the scene's name; by default who attacks and how far the ego has come.
    """

    pixels: int = 440
    metres: float = 90.0
    smooth: int = 2
    fps: int = 10
    caption: str = ""

    @property
    def scale(self) -> float:
        """Pixels per metre while drawing."""
        return self.pixels * self.smooth / self.metres


class _Canvas:
    """A picture of a part of the world; y points up."""

    def __init__(self, low: Floats, high: Floats, scale: float) -> None:
        width, height = np.ceil((high - low) * scale).astype(int) + 1
        self.low, self.high, self.scale = low, high, scale
        self.image = Image.new("RGB", (int(width), int(height)), BACKGROUND)
        self.pen = ImageDraw.Draw(self.image)

    def pixels(self, points: Floats) -> list[tuple[float, float]]:
        """Picture coordinates of world points [N, ≥2]."""
        x = (points[:, 0] - self.low[0]) * self.scale
        y = (self.high[1] - points[:, 1]) * self.scale
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def line(self, points: Floats, colour: tuple[int, int, int], metres: float) -> None:
        """A polyline of some width, m."""
        if len(points) > 1:
            width = max(1, round(metres * self.scale))
            self.pen.line(self.pixels(points), fill=colour, width=width, joint="curve")


def draw_map(scenario: Scenario, low: Floats, high: Floats, scale: float) -> _Canvas:
    """The road map between two corners [2] (m) at `scale` pixels per metre."""
    canvas = _Canvas(low, high, scale)
    margin = 5.0

    def near(feature: MapFeature) -> bool:
        points = np.asarray(feature.points)[:, :2]
        return bool((points.max(0) > low - margin).all() and (points.min(0) < high + margin).all())

    features = [feature for feature in scenario.features if len(feature.points) and near(feature)]
    for feature in features:
        if feature.is_vehicle_lane:
            canvas.line(np.asarray(feature.points), LANE, LANE_WIDTH)
    for feature in features:
        points = np.asarray(feature.points)
        if feature.closed and len(points) > 2:
            canvas.pen.polygon(canvas.pixels(points), fill=CROSSWALK)
    for feature in features:
        if feature.is_road_edge:
            canvas.line(np.asarray(feature.points), EDGE, 0.3)
        elif "LINE" in feature.type:
            canvas.line(np.asarray(feature.points), LINE, 0.15)
    return canvas


def frames(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], view: View | None = None
) -> Iterator[Image.Image]:
    """One picture per step of an episode.

    Args:
        scenario: The scene, for map and sizes.
        episode: The record.
        ego_size: Length and width of the simulated ego, m.
        view: How it looks.
    """
    view = view or View()
    present = np.flatnonzero(episode.ego.valid)
    if len(present) == 0:
        return
    ego = episode.ego.states
    half = view.metres / 2
    low, high = ego[present, :2].min(0) - half, ego[present, :2].max(0) + half
    canvas = draw_map(scenario, low, high, view.scale)
    canvas.line(scenario.position[scenario.ego, scenario.valid[scenario.ego], :2], ROUTE, 0.4)
    _draw_plan(canvas, episode)
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    side = view.pixels * view.smooth
    for step in present.tolist():
        left, top = canvas.pixels(ego[step : step + 1, :2] + np.array([[-half, half]]))[0]
        corner = (round(left), round(top))
        picture = canvas.image.crop((*corner, corner[0] + side, corner[1] + side))
        pen = ImageDraw.Draw(picture)
        for corners, colour in _boxes(scenario, episode, sizes, ego_size, step):
            points = [(x - corner[0], y - corner[1]) for x, y in canvas.pixels(corners)]
            pen.polygon(points, fill=colour)
        picture = picture.resize((view.pixels, view.pixels), Image.Resampling.BILINEAR)
        _write(picture, scenario, episode, step, view.caption, ended=step == present[-1])
        yield picture


def _draw_plan(canvas: _Canvas, episode: Episode) -> None:
    """Candidates faintly, the chosen plan over them."""
    plan = episode.plan
    if plan is None:
        return
    ahead = np.flatnonzero(plan.valid)
    ahead = ahead[ahead >= CURRENT_STEP]
    if plan.candidates is not None:
        for candidate in plan.candidates:
            canvas.line(candidate[ahead], CANDIDATE, 0.2)
    canvas.line(plan.states[ahead], PLAN, 0.45)


def _boxes(
    scenario: Scenario, episode: Episode, sizes: Floats, ego_size: tuple[float, float], step: int
) -> Iterator[tuple[Floats, tuple[int, int, int]]]:
    """Corners [4, 2] and colour of everybody present, the ego last (on top)."""
    for agent in np.flatnonzero(episode.agents_valid[:, step]).tolist():
        if agent == scenario.ego:
            continue
        person = scenario.kinds[agent] in (Kind.PEDESTRIAN, Kind.CYCLIST)
        colour = OPPONENT if agent == scenario.opponent else PERSON if person else VEHICLE
        yield box_corners(episode.agents[agent, step, :3], sizes[agent]), colour
    yield box_corners(episode.ego.states[step, :3], np.array(ego_size)), EGO


def _write(picture: Image.Image, scenario: Scenario, episode: Episode, step: int, caption: str, *, ended: bool) -> None:
    """Scene, time and what has happened so far; in the last picture how it ended."""
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default()
    attack = f"attacked by {episode.adversary}" if episode.plan is not None else "as recorded"
    end = f"   completed {episode.route_completion:.0%}" if ended and not caption else ""
    if ended and not caption and (episode.off_road or episode.arrived):
        end += "   LEFT THE ROAD" if episode.off_road else "   arrived"
    pen.text((8, 6), f"{scenario.id}  {caption or attack}", fill=TEXT, font=font)
    pen.text((8, 20), f"{step * scenario.dt:4.1f} s{end}", fill=TEXT, font=font)
    hits = [hit for hit in (episode.crash_contact, episode.crash_geometry) if hit is not None]
    if hits and step >= min(hits):
        pen.text((8, 34), f"COLLISION at {min(hits) * scenario.dt:.1f} s", fill=OPPONENT, font=font)


def save_playback(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], path: Path, view: View | None = None
) -> None:
    """Write an episode as an animated GIF.

    Args:
        scenario, episode, ego_size, view: As for `frames`.
        path: Ends in `.gif`.

    Raises:
        RunError: The file cannot be written.
    """
    view = view or View()
    pictures = list(frames(scenario, episode, ego_size, view))
    if not pictures:
        return
    # One palette for all frames: small files, and no flicker. It knows the colours of who leaves the picture too.
    sample = np.concatenate([np.asarray(picture) for picture in pictures[:: max(1, len(pictures) // 6)]])
    palette = Image.fromarray(sample).quantize(64, dither=Image.Dither.NONE)
    images = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [1000 // view.fps] * (len(images) - 1) + [1500]

    def write(beside: Path) -> None:
        images[0].save(beside, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)

    write_atomically(path, write)
