"""What commands print of hand-made results: every number under its head, best epochs, ranges and states."""

from harness.report.command_tables import findings_table, scenes_table
from harness.report.sage_tables import mixing_tables, novelty_table, remarks, response_tables, theory_tables
from harness.report.traffic_tables import (
    comparison_tables,
    paired_table,
    reactivity_table,
    realism_table,
    rollouts_table,
)
from harness.report.training_tables import experts_tables, prior_records, prior_table, seal_table, tokens_table
from harness.traffic.evaluation import METRICS, RealismTable, summarise
from harness.traffic.reactivity import Reaction
from harness.traffic.reactivity import summarise as summarise_reactions
from scenarios.listing import SceneRow
from scenarios.tagging.vocabulary import SceneTags

DISTANCES = ("acceleration", "speed", "yaw_rate")


def shown(table) -> list[dict[str, str]]:
    """Rows as printed, by head."""
    heads = [column.heading(group=False) for column in table.columns]
    return [dict(zip(heads, table.cells(row), strict=True)) for row in table.rows]


def test_findings_have_a_state_in_colour_and_scenes_keep_their_heads() -> None:
    table = findings_table([{"check": "torch", "found": "missing", "state": "FIX", "remedy": "install it"}])
    assert shown(table) == [{"check": "torch", "found": "missing", "": "FIX", "what to do": "install it"}]
    assert list(table.rich().columns[2].cells) == ["[red]FIX[/]"]
    tags = SceneTags({"road": ("junction", "merge"), "rule": ("crosswalk",)}, {"speed": 2.5})
    rows = [SceneRow("s", "91", "5 Hz", "3", "12.5", "7", "test", "", tags)]
    head, row = scenes_table(rows, "T").csv().splitlines()
    assert head == "scene,steps,recorded,agents,ego path m,opponent,split,tags,left out because"
    assert row == 's,91,5 Hz,3,12.5,7,test,"junction, merge, crosswalk",'
    head, row = scenes_table(rows, "T", full=True).csv().splitlines()
    full = dict(zip(head.split(","), row.split(","), strict=True))
    assert (full["road"], full["type"], full["rule"], full["speed"]) == ("junction merge", "", "crosswalk", "2.5")
    assert full["density"] == ""


def test_realism_has_a_line_per_metric_and_pairs_have_signs() -> None:
    scores = {name: {metric: [value, value] for metric in METRICS} for name, value in (("log", 0.75), ("smart", 0.5))}
    seconds = {name: {"simulate": 2.0, "score": 1.0} for name in scores}
    result = summarise(RealismTable(scenes=["a", "b"], scores=scores, seconds=seconds))
    log, smart = shown(realism_table(result["models"], "T"))
    assert (log[""], log["meta"], log["collided"]) == ("log", "0.7500 [0.7500, 0.7500]", "0.7500 [0.7500, 0.7500]")
    assert smart["s / scene"] == "1.50"
    (pair,) = shown(paired_table(result["paired"]))
    assert (pair["paired difference"], pair["meta"]) == ("log - smart", "+0.2500 [+0.2500, +0.2500]")


def test_realism_says_which_numbers_lack_scenes_without_road_edges() -> None:
    scores = {"log": {metric: [0.5, float("nan")] for metric in METRICS}}
    table = RealismTable(["a", "b"], scores, {"log": {"simulate": 2.0, "score": 1.0}}, without_edges=["b"])
    settings = {"reactivity": False, "causes": False, "dial": None, "parity": False, "config": "2025", "rollouts": 4}
    settings["agents"] = "official"
    result = {
        "settings": settings, "left_out": {}, "without_edges": table.without_edges, "evaluated_agents": {"x": 2},
        "scenes": {"ids": table.scenes}, **summarise(table),
    }  # fmt: skip
    lines = [part for part in comparison_tables(result, 2) if isinstance(part, str)]
    assert lines[0].startswith("1 of 2 scenes has no road edges: leaving the road")


def test_reactions_are_shares_and_rollouts_are_ranges() -> None:
    hit, spared = Reaction(True, 20, 3.0, 1.0), Reaction(False, -1, float("nan"), 2.0)
    log, idm = shown(reactivity_table(summarise_reactions({"log": [hit, hit], "idm": [spared, spared]}), "T"))
    # Wilson for 2 of 2: 2 / (2 + 1.96²) = 34.2 %.
    assert (log["share, %"], log["closing speed, m/s"]) == ("100.0 [34.2, 100.0]", "3.0")
    assert (idm["followers hit the braking ego"], idm["closing speed, m/s"], idm["p against log"]) == (
        "0",
        "–",
        "0.500",
    )
    one = {"ego_contact_step": 5, "ego_distance_m": 10.4, "agents_in_contact": 2, "mean_distance_m": 20.0}
    two = {"ego_contact_step": None, "ego_distance_m": 31.6, "agents_in_contact": 1, "mean_distance_m": 30.0}
    (row,) = shown(rollouts_table([{"scene": "s", "agents": 4, "seconds": 0.25, "rollouts": [one, two]}], "T"))
    assert (row["roll-outs with ego contact"], row["agents in contact"]) == ("1 of 2", "1.5")
    assert (row["ego drives, m"], row["all drive, m"], row["s"]) == ("10 … 32", "25", "0.2")


def test_networks_are_shown_before_and_after_and_at_their_best() -> None:
    train, held = {"success": 0.1}, {"success": 0.2, "feasible": 0.5, "top_feasible": 0.75}
    worth, feasible = experts_tables({"adv": [{"train": train, "held_out": held}, {"train": {"success": 0.3}}]})
    assert [(row["scenes"], row["contacts of the choice"], row["R_adv"]) for row in shown(worth)] == [
        ("train", "0.100 → 0.300", "–"),
        ("held_out", "0.200 → 0.200", "–"),
    ]
    assert shown(feasible)[1] == {
        "expert": "adv",
        "scenes": "held_out",
        "group, as drawn": "0.500 → 0.500",
        "plain likeliest (paper)": "0.750 → 0.750",
        "one sample": "–",
    }
    epochs = [{"epoch": n, "loss": 1.0, "held_out": loss, "hits": 0.5} for n, loss in enumerate((0.5, 0.25, 0.75))]
    assert shown(seal_table({"scorer": epochs})) == [
        {"network": "scorer", "epoch": "1", "held-out loss": "0.2500", "more": "hits 0.500"}
    ]
    (tokens,) = shown(tokens_table({"vehicle": {"mean": 0.01, "p95": 0.02, "max": 0.5, "steps": 1e4}}))
    assert (tokens["p95"], tokens["steps"]) == ("0.020", "10000")
    values = {"samples": 12.0, **{f"{name}_{k}": 1.5 for k in (6, 32) for name in ("minADE", "minFDE", "miss")}}
    found = {"val": {"moving": {"prior": values}}}
    assert prior_records(found)[0] == {"split": "val", "vehicles": "moving", "method": "prior", **values}
    assert shown(prior_table(found))[0]["minADE_6"] == "1.500"


def test_the_response_to_the_intensity_is_in_order() -> None:
    keys = ("success", "adversarial", "kinematic", "behavioural", "off_road", "contact", *DISTANCES)
    rows = [{"intensity": x, **{key: [0.5, 0.25, 0.75] for key in keys}} for x in (1.0, 0.125)]
    beyond = [{"intensity": -0.5, **{key: [0.0, 0.0, 0.5] for key in keys}}]
    result = {
        "scenes": 3,
        "without_edges": 1,
        "fronts": {"weights": rows},
        "extrapolation": {"vector": beyond},
        "hypervolume": {"weights": 1.0, "logits": 0.5},
        "dominated": [{"intensity": 0.125, "by": "logits", "points": 1}],
    }
    assert (
        response_tables(result)[0].caption
        == "1 of 3 scenes has no road edges: leaving the road cannot be judged there."
    )
    response, apart, worth = map(shown, response_tables(result))
    assert [row["λ"] for row in response] == ["-0.5", "0.125", "1"]
    assert (response[1]["success, %"], response[1]["R_adv"]) == ("50.0 [25.0, 75.0]", "0.500 [0.250, 0.750]")
    assert apart[2] == {
        "λ": "1",
        "acceleration, m/s²": "0.500 [0.250, 0.750]",
        "speed, m/s": "0.500 [0.250, 0.750]",
        "yaw rate, rad/s": "0.5000 [0.2500, 0.7500]",
    }
    assert [row["λ at which weights are dominated by it"] for row in worth] == ["none", "0.125"]


def test_novelty_has_a_line_per_weight() -> None:
    keys = ("success", "adversarial", "kinematic", "behavioural", "off_road", "contact")
    row = {"novelty": 3.0, "kinds": 5, "coverage": [2.0, 1.5, 2.25], **{key: [0.5, 0.25, 0.75] for key in keys}}
    (found,) = shown(novelty_table({"novelty": [row]}))
    assert (found["weight of novelty"], found["coverage, bits"], found["kinds"]) == ("3", "2.00 [1.50, 2.25]", "5")
    assert found["success, %"] == "50.0 [25.0, 75.0]"


def test_theory_has_a_line_per_preference_and_a_dash_where_it_says_nothing() -> None:
    kind = {"best": 0.25, "reward": 1.0, "equal": 0.125, "matched": 0.0}
    term = {"weights": 3.0, "outputs": 4.0, "difference": -1.0, "curvature": -2.0, "diversity": 0.5, "predicted": -1.5}
    one = {"measured": [1.0, 2.0], "shortfall": 0.5, "relative": 0.5}
    gaps = {
        "rows": [{"preference": 0.3, "measured": 0.5, "theorem_2": 0.25, "theorem_1": float("nan")}],
        "separate": [],
    }
    result = {
        "theory": {
            "weight": 0.9,
            "coefficients": [{"preference": 0.3, "matched": 0.25, "group": kind, "choice": kind}],
            "gaps": gaps,
            "proposition": {"0.5": [{"intensity": 0.1, **term}, {"intensity": 0.2, **term}]},
        },
        "beyond": {"group": {"hypervolume": {"interpolated": 1.0, "extrapolated": 2.0}, "beaten": 3, "points": 11}},
        "linearity": {
            **dict.fromkeys(("adv", "even", "real"), one),
            **{kind: {"adv": one, "real": one} for kind in ("losses", "own_losses")},
        },
    }
    preferences, proposed, segment, beyond = map(shown, theory_tables(result))
    assert (preferences[0]["μ"], preferences[0]["λ(μ)"], preferences[0]["lost by λ = μ"]) == ("0.3", "0.250", "0.125")
    assert (preferences[0]["theorem 2"], preferences[0]["bound of theorem 1"]) == ("0.250", "–")
    # Three places of λ are enough.
    assert [(row["ideal of μ"], row["λ"], row["both terms"]) for row in proposed] == [("0.5", "0.2", "-1.50")]
    assert [row[""] for row in segment][3:] == [
        "loss, adv",
        "loss, real",
        "loss, adv, own pairs",
        "loss, real, own pairs",
    ]
    assert beyond == [
        {
            "": "group",
            "hypervolume between the experts": "1.000",
            "with the grid": "2.000",
            "points between that the grid beats": "3",
            "of": "11",
        }
    ]
    kinds = {name: {"own": 1.0, "mixture": 0.75, "gap": 0.25} for name in ("sample", "group", "choice")}
    gaps["separate"] = [{"name": "scalar_55", "preference": 0.5, **kinds}]
    (row,) = shown(theory_tables(result)[1])
    assert (row["name"], row["μ"], row["gap"]) == ("scalar_55", "0.5", "0.250")


def test_mixing_has_a_line_per_number_of_candidates_and_part() -> None:
    keys = ("success", "adversarial", "realism", "feasible", "kinematic", "behavioural", "off_road", "contact")
    rows = [{"intensity": x, **{key: [x, 0.0, 1.0] for key in keys}} for x in (0.0, 1.0)]
    part = {"part": "completion", "weights": 7, "gradient": 0.5, "adv": 1.0, "real": 2.0, "still": ["a", "b"]}
    result = {
        "candidates": [{"candidates": 4, "hypervolume": {"weights": 1.0}, "same": [1.0, 0.5, 0.25, 0.75, 1.0]}],
        "samples": {"weights": rows, "logits": rows, "apart": [0.0, 0.125], "experts": 0.5},
        "updated": {"adv": [part], "real": [{**part, "gradient": 0.25}]},
        "parts": {"completion": rows},
        "completions": {"goals": rows, "whole": rows},
    }
    worth, samples, parts, own = map(shown, mixing_tables(result))
    assert worth[0]["weights and logits choose the same, λ ¼, ½, ¾"] == "50%, 25%, 75%"
    assert [row["total variation from weights"] for row in samples] == ["–", "–", "0.000", "0.125"]
    assert (parts[0]["part"], parts[0]["tensors without a gradient"]) == ("completion", "2")
    assert (parts[0]["adv"], parts[0]["real"]) == ("0.500", "0.250")
    assert (parts[0]["λ = 0"], parts[0]["λ = 1"]) == ("0.000", "1.000")
    assert [row["mixed"] for row in own] == ["goals", "goals", "whole", "whole"]


def test_remarks_say_what_the_theorems_need() -> None:
    slopes = {f"{name}_at_{place}": 1.0 for name in ("adv", "real") for place in ("expert", "reference")}
    fits = {"adv": {"curvature": -0.5, "peak": float("nan")}, "real": {"curvature": 2.0, "peak": 0.25}}
    gaps = {"distance": 3.0, "smooth": [4.0, 5.0], "concave": [-1.0, 2.0], "gradients": slopes, "fits": fits}
    vectors = {"norm_adv": 2.0, "norm_real": 3.0, "norm_reference": 10.0, "angle_degrees": 42.0}
    result = {
        "monotone": {"success": 0.5},
        "vectors": vectors,
        "theory": {"gaps": {**gaps, "peaks": {"adv": 1.125, "real": -0.125}}},
    }
    rho, lengths, bend, _, curved = remarks(result)
    assert (rho, lengths.split("; ")[1]) == ("Spearman's ρ with λ: success 0.50", "the experts are 3.00 apart")
    assert "m at most -1.00 and 2.00" in bend
    assert "R_adv curvature -0.50 per λ², no peak (1.125 by theorem 2)" in curved
    assert "-P_real curvature 2.00 per λ², peak at λ = 0.25 (-0.125 by theorem 2)" in curved
