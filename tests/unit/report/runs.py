"""A small finished benchmark, made without a simulator: the log drives, `rule` attacks, and the scores are real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from harness.attacks.open_loop import attack_logged
from harness.benchmarking.comparison import compare
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.lineup import FILE, Lineup, SystemInfo
from harness.benchmarking.scores import Case, profiles, score
from harness.benchmarking.summary import summarise
from harness.commands.runs import RunDirectory
from harness.episodes.protocol import CORRECTED, protocol_of
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore
from harness.episodes.rollout import failed_episode
from harness.files import write_json
from harness.interfaces import AttackPlan, Episode, Trajectory
from harness.metrics.collision import first_overlap
from harness.registry import make
from harness.report.benchmark_tables import write_all
from scenarios.scenario import Scenario
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road
from tests.sources import ListSource

EVIL = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\u2028&amp;"
"""A name that a stranger could give."""
SYSTEMS = ("logged", "brakes")
ADVERSARIES = ("rule", "fan")


def scenes() -> ListSource:
    walker = Agent("walker", 30.0, -4.0, 1.2, 1.0, size=(0.8, 0.8, 1.8))
    aside = Agent(f"aside {EVIL}", -15.0, LANE_WIDTH, 0.0, 10.0)
    return ListSource(
        [
            straight_road(extra=[aside, walker], origin=(51234.5, -8765.25), rotation=0.4),
            crossing(scene_id=f"crossing {EVIL}"),
            crossing(scene_id="late", opponent_delay=-2.5, origin=(-300.0, 40.0)),
        ]
    )


def drive(scenario: Scenario, policy: str, adversary: str, plan: AttackPlan | None) -> Episode:
    """What a simulator would record of an ego that follows its log (`brakes`: at half the pace from step 20 on)."""
    states, valid = scenario.states(scenario.ego), scenario.valid[scenario.ego].copy()
    if policy == "brakes":
        pace = np.minimum(np.arange(len(valid)), 20) + np.maximum(np.arange(len(valid)) - 20, 0) / 2
        states = np.stack([np.interp(pace, np.arange(len(valid)), column) for column in states.T], -1)
        states[20:, 3:] /= 2
    agents = np.stack([scenario.states(agent) for agent in range(scenario.num_agents)])
    present = scenario.valid.copy()
    agents[scenario.ego] = states
    if plan is not None:
        agents[scenario.opponent], present[scenario.opponent] = plan.states, plan.valid
    if policy == "brakes":
        agents[-1, 40:, 0] += 1.0  # somebody does not do as logged
    other = Trajectory(agents[scenario.opponent], present[scenario.opponent])
    size = scenario.box(scenario.ego)
    hit = int(first_overlap(*other, scenario.box(scenario.opponent), states, valid, size, 0))
    step = None if hit < 0 else hit
    return Episode(
        scenario_id=scenario.id,
        policy=policy,
        adversary=adversary,
        intensity=1.0,
        seed=0,
        ego=Trajectory(states, valid),
        opponent=other,
        agents=agents,
        agents_valid=present,
        plan=plan,
        steps=len(valid) - 1,
        reward=1.0,
        cost=0.0,
        route_completion=0.9,
        arrived=False,
        off_road=False,
        truncated=True,
        crash_contact=step,
        crash_geometry=step,
        crash_opponent=step,
        mean_speed=9.0,
        mean_jerk=0.5,
    )


def fan(plan: AttackPlan) -> AttackPlan:
    """The same plan with five candidates to its sides, the first of which it is; a controller takes over at step 30."""
    ahead = np.maximum(np.arange(len(plan.valid)) - 10, 0)[None, :, None] / 80.0
    sides = np.arange(5.0)[:, None, None] * ahead * np.array([0.0, 2.0, 0.0, 0.0, 0.0])
    return replace(plan, candidates=plan.states + sides, chosen=0, takeover_step=30)


def finished_run(folder: Path, source: ListSource, protocol: str = "corrected") -> EpisodeStore:
    """Write a run folder as the benchmark leaves it; one episode of the last scene has failed."""
    config = BenchmarkConfig(data="scenes", split="all", sut=SYSTEMS, adversary=ADVERSARIES, protocol=protocol)
    systems = tuple(SystemInfo(name, name, name == "brakes", False, "replay") for name in SYSTEMS)
    lineup = Lineup(tuple(source.ids), systems, ADVERSARIES, {})
    store = EpisodeStore(folder)
    with RunDirectory.create(folder, "benchmark", asdict(config)):
        write_json(folder / FILE, lineup.as_dict(protocol))
        for scenario in source.scenes:
            for system in SYSTEMS:
                _scene(store, scenario, system, protocol)
        failed = failed_episode("late", "brakes", "fan", f"adversary: no way through {EVIL}")
        store.write(CellKey("late", "brakes", "fan"), failed, {})
        cells = summarise(folder, config, lineup)
        write_all(folder, cells, compare(cells), config)
    return store


def _scene(store: EpisodeStore, scenario: Scenario, system: str, protocol: str) -> None:
    _, planned = attack_logged(make("adversary", "rule"), scenario, CORRECTED)
    quiet = drive(scenario, system, UNDISTURBED, None)
    plans: Sequence[tuple[str, AttackPlan | None]] = [(UNDISTURBED, None), ("rule", planned), ("fan", fan(planned))]
    for adversary, plan in plans:
        episode = drive(scenario, system, adversary, plan)
        case = Case(scenario, episode, quiet, plan, scenario.box(scenario.ego), protocol_of(protocol))
        store.write(CellKey(scenario.id, system, adversary), episode, score(case), profiles(case))
