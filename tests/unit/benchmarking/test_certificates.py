"""Certificates: hand-computable rankings, verdicts, and files that are damaged, forged or of other traffic."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from harness.benchmarking.certificates.data import (
    BETTER,
    METRICS,
    Certificate,
    ModelHits,
    ModelScores,
    RankedSystem,
    RankingScores,
    ReactionHits,
    RealismNumbers,
    Setting,
    SystemScores,
)
from harness.benchmarking.certificates.files import check_same_traffic, read_certificate, write_certificate
from harness.benchmarking.certificates.judging import _signed, judge
from harness.benchmarking.certificates.ranking import agreements, kendall, orders
from harness.benchmarking.identity import TrafficIdentity, identify
from harness.errors import ConfigError, GauntletError
from harness.metrics.intervals import Interval, rate_beside_share, wilson

SCENES = tuple(f"s{number}" for number in range(20))
TRAFFICS = ["smart", "log", "idm-lane"]
SMART = TrafficIdentity("smart", (), "a" * 64)
CRASHES = {"smart": (2, 6, 14), "log": (1, 5, 12), "idm-lane": (14, 6, 2)}
"""In how many of 20 scenes the systems a, b and c crash: the lane followers turn the order round."""


def ranking(crashes=CRASHES, systems="abc"):
    """Who crashes in n scenes does so in the first n; who attacks hits everybody; completion is what no crash costs."""
    rows = []
    for kind, counts in crashes.items():
        for label, count in zip(systems, counts, strict=True):
            hit = tuple(float(number < count) for number in range(20))
            rows += [
                SystemScores(kind, "none", "crashed", label, hit),
                SystemScores(kind, "none", "completion", label, tuple(1 - value / 2 for value in hit)),
                SystemScores(kind, "rule", "success", label, (1.0,) * 20),
            ]
    return RankingScores(tuple(RankedSystem(label, "") for label in systems), ("rule",), tuple(rows))


def scores(model, meta):
    wobble = tuple(meta + 0.01 * (number % 2) for number in range(20))
    return ModelScores(model, **dict.fromkeys(METRICS, wobble))


def a_certificate(**changes):
    hits = {"smart": 0, "log": 15, "idm-lane": 1}
    values = {
        "format": 1,
        "traffic": SMART,
        "setting": Setting("procedural", "test", "corrected", (0,), None, "2026-01-01T00:00:00+00:00", None, ()),
        "scenes": SCENES,
        "realism": RealismNumbers("2025", 8, (scores("smart", 0.8), scores("log", 0.9), scores("idm-lane", 0.7))),
        "reaction": ReactionHits(
            6.0, tuple(ModelHits(name, tuple(number < n for number in range(20))) for name, n in hits.items())
        ),
        "ranking": ranking(),
    }
    return Certificate(**{**values, **changes})


def verdicts(made):
    return {check.item: check.verdict for check in judge(made).checks}


def test_tau_is_that_of_scipy_and_counts_criteria_together():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, two = rng.integers(4, size=(2, 1, 6)).astype(float)
        assert float(kendall(one, two)) == pytest.approx(kendalltau(one[0], two[0]).statistic)
    # Of three pairs in each of two criteria four agree and two do not: (4 - 2) / 6.
    assert float(kendall(np.array([[1.0, 2, 3], [1, 2, 3]]), np.array([[1.0, 2, 3], [3, 1, 2]]))) == pytest.approx(
        1 / 3
    )
    assert np.isnan(kendall(np.ones((1, 3)), np.arange(3.0)[None]))


def test_rankings_by_hand():
    found = {(row.traffic, row.reference, row.adversary, row.score): row for row in agreements(ranking(), TRAFFICS, 0)}
    assert found["smart", "log", "none", "crashed"].tau == (1.0, 1.0, 1.0)
    assert found["smart", "idm-lane", "none", "completion"].tau.mean == -1.0
    assert found["smart", "idm-lane", "none", "completion"].tau.high == -1.0
    assert found["log", "idm-lane", "", ""].tau.mean == -1.0
    # Everybody is hit: a tie throughout orders nobody.
    assert np.isnan(found["smart", "log", "rule", "success"].tau.mean)
    # The first and the second system crash in 1 and 5 of 20 scenes: some draws of scenes turn no pair, or tie it.
    itself = found["log", "log", "", ""].tau
    assert 0.9 < itself.mean <= 1.0
    assert found["smart", "log", "", ""].scenes == 20


def test_scenes_are_redrawn_for_both_kinds_at_once_and_for_the_log_itself_twice():
    # In eleven of 21 scenes a gets farther, in ten b: 17 % more drawings of scenes put a ahead than b.
    first = tuple(float(number < 11) for number in range(21))
    far = {"a": first, "b": tuple(1 - value for value in first)}
    rows = [
        SystemScores(kind, "none", score, label, far[label] if score == "completion" else (0.0,) * 21)
        for kind in TRAFFICS
        for score in ("crashed", "completion")
        for label in "ab"
    ]
    made = RankingScores((RankedSystem("a", ""), RankedSystem("b", "")), (), tuple(rows))
    found = {(row.traffic, row.reference, row.score): row for row in agreements(made, TRAFFICS, 0)}
    assert found["smart", "log", ""].tau == (1.0, 1.0, 1.0), "the same scores rank the same in every drawing"
    # Two drawings agree in 3 % more than they differ.
    itself = found["log", "log", ""].tau
    assert itself.mean == pytest.approx(0.17**2, abs=0.07)
    assert (itself.low, itself.high) == (-1.0, 1.0)


def test_which_pairs_change_places():
    found = {(row.reference, row.score, row.first, row.second): row for row in orders(ranking(), TRAFFICS, 0)}
    crashed = found["idm-lane", "crashed", "a", "c"]
    # Twelve scenes more, or fewer, in which one alone crashes: McNemar's p is 2 / 2 ** 12, and Holm's factor seven of
    # nine tests: the bootstrap's p of completion is smaller for the pairs a, c and b, c.
    assert crashed.gap.mean == pytest.approx(0.6)
    assert crashed.reference_gap.mean == pytest.approx(-0.6)
    assert crashed.p_value == pytest.approx(7 * 2 / 2**12)
    assert crashed.place == "swapped"
    assert found["log", "crashed", "a", "c"].place == "kept"
    # More is better in completion, and two are ahead beyond noise in one kind of traffic alone.
    assert found["idm-lane", "completion", "a", "c"].gap.mean == pytest.approx(0.3)
    log = found["log", "crashed", "b", "c"]
    assert (log.p_value, log.reference_p) == pytest.approx((6 * 2 / 2**8, 6 * 2 / 2**7))
    assert log.place == "undecided"
    # Four scenes: p is 1 / 8, which is nothing.
    assert found["idm-lane", "crashed", "a", "b"].place == "undecided"
    assert found["log", "success", "a", "b"].p_value == 1.0


def test_scenes_that_failed_anywhere_are_compared_nowhere():
    rows = list(ranking().rows)
    rows[0] = replace(rows[0], values=(None, *rows[0].values[1:]))
    made = a_certificate(ranking=replace(ranking(), rows=tuple(rows)))
    findings = judge(made)
    found = {(row.score, row.traffic, row.reference): row.scenes for row in findings.agreements if row.adversary}
    assert {scenes for (score, *_), scenes in found.items() if score == "crashed"} == {19}
    assert {scenes for (score, *_), scenes in found.items() if score == "completion"} == {20}
    means = {(row.traffic, row.score, row.system): row.mean for row in findings.means}
    assert means["smart", "crashed", "c"] == pytest.approx(13 / 19)
    # A criterion of which nothing is known says nothing, and does not speak for the others.
    nothing = [replace(row, values=(None,) * 20) if row.score == "success" else row for row in rows]
    findings = judge(a_certificate(ranking=replace(ranking(), rows=tuple(nothing))))
    whole = findings.agreements[0]
    assert (whole.scenes, whole.tau.mean) == (19, 1.0)
    assert {row.place for row in findings.orders if row.score == "success"} == {"undecided"}
    assert findings.checks[2].verdict == "passes"


def test_verdicts_by_their_thresholds():
    assert verdicts(a_certificate()) == {
        "realism": "passes",
        "reaction": "passes",
        "ranking against log": "passes",
        "ranking against idm-lane": "fails",
    }
    models = (scores("smart", 0.6), scores("log", 0.9), scores("idm-lane", 0.7))
    assert verdicts(a_certificate(realism=RealismNumbers("2025", 8, models)))["realism"] == "fails"
    # A third of 15 in 20 scenes is 5; two are fewer, but with 20 scenes that may be chance.
    for hits, verdict in ((15, "fails"), (2, "undecided")):
        rows = (ModelHits("smart", tuple(number < hits for number in range(20))), *a_certificate().reaction.models[1:])
        assert verdicts(a_certificate(reaction=ReactionHits(6.0, rows)))["reaction"] == verdict
    alone = ranking({kind: counts[:1] for kind, counts in CRASHES.items()}, "a")
    assert verdicts(a_certificate(ranking=alone))["ranking against log"] == "undecided"
    same = ranking(dict.fromkeys(TRAFFICS, (3, 3, 3)))
    assert verdicts(a_certificate(ranking=same))["ranking against log"] == "undecided"


def test_few_scenes_decide_nothing():
    few = a_certificate()
    models = tuple(
        replace(item, **{metric: getattr(item, metric)[:9] for metric in METRICS}) for item in few.realism.models
    )
    rows = tuple(replace(row, values=row.values[:9]) for row in few.ranking.rows)
    hits = tuple(replace(item, hits=item.hits[:9]) for item in few.reaction.models)
    few = a_certificate(
        scenes=SCENES[:9],
        realism=RealismNumbers("2025", 8, models),
        reaction=ReactionHits(6.0, hits),
        ranking=replace(few.ranking, rows=rows),
    )
    assert set(verdicts(few).values()) == {"undecided"}


def test_lane_followers_are_compared_with_constant_velocity():
    made = a_certificate(
        traffic=TrafficIdentity("idm-lane"),
        realism=RealismNumbers(
            "2025", 8, (scores("idm-lane", 0.7), scores("log", 0.9), scores("constant_velocity", 0.6))
        ),
        reaction=ReactionHits(6.0, a_certificate().reaction.models[1:]),
        ranking=ranking({kind: CRASHES[kind] for kind in TRAFFICS[1:]}),
    )
    assert verdicts(made) == {"realism": "passes", "reaction": "passes", "ranking against log": "fails"}
    assert "constant_velocity" in judge(made).checks[0].rule


def test_a_rate_beside_a_share_of_another():
    none, all_of_them = wilson(0, 10), wilson(10, 10)
    found = rate_beside_share((0, 10), (10, 10), 0.5)
    assert found.mean == -0.5
    # Neither rate can be lower, or higher, than it is: one end is that of each.
    assert found.high == pytest.approx(-0.5 + np.hypot(none.high, (1 - all_of_them.low) / 2))
    assert found.low == pytest.approx(-0.5)


def test_a_difference_of_rates_is_newcombes():
    # Newcombe 1998, table II: 56 of 70 and 48 of 80, method 10.
    found = rate_beside_share((56, 70), (48, 80), 1.0)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    # A share of a rate is a rate in other units.
    part = rate_beside_share((0, 50), (40, 80), 1 / 3)
    low, high = wilson(40, 80).low / 3, wilson(40, 80).high / 3
    assert part == pytest.approx((-1 / 6, -high, -1 / 6 + np.hypot(wilson(0, 50).high, 1 / 6 - low)))


@pytest.fixture
def file(tmp_path):
    made = a_certificate()
    write_certificate(tmp_path / "certificate.json", made, judge(made))
    return tmp_path / "certificate.json"


def test_written_and_read(file):
    made, findings = read_certificate(file)
    assert made == a_certificate()
    assert json.dumps(asdict(findings)) == json.dumps(asdict(judge(made)))


def changed(file, path, value):
    """The file with one value changed."""
    stored = json.loads(file.read_text())
    *way, last = path
    place = stored
    for key in way:
        place = place[key]
    place[last] = value
    file.write_text(json.dumps(stored))


REALISM = ("certificate", "realism", "models", 0, "meta")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("findings", "checks", 3, "verdict"), "passes", r"findings\.checks\[3\]\.verdict"),
        (("findings", "realism", 0, "means", "meta", 0), 0.99, "does not follow from its numbers"),
        ((*REALISM, 0), 0.1, "does not follow from its numbers"),
        ((*REALISM, 0), 1.5, "outside of 0 to 1"),
        ((*REALISM, 0), "0.5", "expected float, found '0.5'"),
        ((*REALISM, 0), True, "expected float"),
        ((*REALISM, 0), float("nan"), "expected float, found nan"),
        (REALISM, [0.5], "has 1 numbers for 20 scenes"),
        (REALISM, {"a": 1}, "expected"),
        (("certificate", "scenes", 0), "s1", "doubled"),
        (("certificate", "scenes", 0), "\x1b[31m", "cannot be shown"),
        (("certificate", "traffic", "digest"), "b" * 63, "64 hexadecimal digits"),
        (("certificate", "traffic", "name"), "other", "others than belong to this traffic"),
        (("certificate", "setting", "seeds"), [], "seeds"),
        (("certificate", "setting", "seeds", 0), 10**400, "seeds"),
        (("certificate", "realism", "rollouts"), 0, "roll-outs"),
        (("certificate", "reaction", "deceleration"), -6.0, "deceleration"),
        (("certificate", "ranking", "rows", 0, "score"), "speed", "rows of the ranking"),
        (("certificate", "ranking", "systems", 0, "label"), "b", "doubled"),
        (("certificate", "extra"), 1, "unknown field extra"),
        (("certificate", "format"), 2, "format 1"),
        (("certificate",), [], "expected fields by name"),
        (("other",), 1, "is no certificate"),
    ],
)  # fmt: skip
def test_what_a_stranger_may_have_written(file, path, value, message):
    changed(file, path, value)
    with pytest.raises(ConfigError, match=message) as caught:
        read_certificate(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "[]", "3", '{"certificate": 1, "findings": 2}', '{"a": 1, "a": 2}', "\x80"])
def test_what_is_no_certificate(tmp_path, text):
    path = tmp_path / "certificate.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(ConfigError, match=r"certificate\.json"):
        read_certificate(path)


def test_a_missing_field_is_named(file):
    stored = json.loads(file.read_text())
    del stored["certificate"]["ranking"]["rows"][2]["values"]
    file.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r"lacks the field ranking\.rows\.values"):
        read_certificate(file)


def test_numbers_are_bounded():
    with pytest.raises(ConfigError, match="2,000,000 numbers"):
        a_certificate(scenes=tuple(map(str, range(100_000))))
    # What it says is worked out at every reading: pairs go with the square of the systems.
    many = tuple(f"system {number}" for number in range(60))
    with pytest.raises(ConfigError, match="60 systems are too many: 15,930 comparisons of two in 20 scenes"):
        a_certificate(ranking=ranking({kind: range(60) for kind in TRAFFICS}, many))


def test_reactions_are_of_the_same_scenes():
    rows = list(a_certificate().reaction.models)
    rows[1] = replace(rows[1], hits=(None, *rows[1].hits[1:]))
    with pytest.raises(ConfigError, match="not of the same scenes"):
        a_certificate(reaction=ReactionHits(6.0, tuple(rows)))


def test_what_it_says_does_not_hang_on_the_order_in_which_numbers_were_added():
    for value in (0.0625, 0.06250000000000001, 0.06249999999999999):
        assert _signed(Interval(value, value, value)) == "+0.062 [+0.062, +0.062]"


def test_which_traffic_it_is(tmp_path):
    shipped = identify("smart")
    assert (shipped.name, shipped.options, len(shipped.digest)) == ("smart", (), 64)
    assert identify("smart?device=cpu") == shipped, "where it computes changes nothing"
    hot = identify("smart?top_k=3&temperature=0.9")
    assert hot.options == ("temperature=0.9", "top_k=3")
    assert hot.label == "smart?temperature=0.9&top_k=3"
    assert hot.digest == shipped.digest
    assert identify("idm-lane") == TrafficIdentity("idm-lane")
    own = identify(f"{__name__}:Still")
    assert own.name.endswith(":Still")
    assert len(own.digest) == 64, "the code of a stranger is its weights"
    with pytest.raises(GauntletError):
        identify("smart:nowhere.safetensors")
    made = a_certificate(traffic=shipped)
    check_same_traffic(made, shipped, tmp_path)
    for other, message in (
        (replace(shipped, digest="b" * 64), "weights .*…, not bbbbbbbbbbbb…"),
        (hot, "options none, not temperature=0.9&top_k=3"),
        (TrafficIdentity("idm-path"), "name smart, not idm-path"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_same_traffic(made, other, tmp_path)


def test_every_score_that_ranks_has_a_direction():
    assert {score for _, score in ranking().criteria} == set(BETTER)


class Still:
    """Traffic of a user's own: nobody moves."""

    name = "still"

    def reset(self, scenario, rng):
        pass

    def step(self, step, states, valid):
        return states, valid
