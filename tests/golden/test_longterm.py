"""Numbers that RosettaSim prints, from other numbers that it prints: tables 7 and 9, appendices H.2 and H.3.

Source: Xiao, Feng and Yan, "Long-term Traffic Simulation via Structured Autoregressive Modeling".

Not tested against, because they are wrong: the entropy of H.2 (.993; it is .874), "D_enter .3371" of SMART in H.3
(table 7: .2291), and table 10, which ranks InfGen above RosettaSim, against table 7.
"""

import numpy as np
import pytest

from harness.metrics.longterm.distributions import js_divergence, js_score, likelihood, masses
from harness.metrics.longterm.scores import behaviour_buckets, flow_realism, rmm_f1

COLUMNS = (
    "angular_acceleration",
    "angular_speed",
    "linear_acceleration",
    "linear_speed",
    "collision_indication",
    "distance_to_nearest_object",
    "time_to_collision",
    "distance_to_road_edge",
    "offroad_indication",
)
TABLE_9 = {
    "InfGen": (0.8379, 0.8949, 0.5716, 0.6206, 0.8461, 0.3128, 0.9223, 0.2312, 0.7717),
    "CAT-K": (0.9405, 0.8892, 0.9131, 0.6898, 0.9602, 0.3559, 0.9589, 0.2267, 0.7689),
    "SMART": (0.9443, 0.8940, 0.9153, 0.6940, 0.9628, 0.3606, 0.9583, 0.2285, 0.7696),
    "RosettaSim": (0.9588, 0.9426, 0.9319, 0.8370, 0.8786, 0.3075, 0.9440, 0.2266, 0.7618),
}
TABLE_7 = {
    "InfGen": (0.7290, 0.7637, 0.7436, 0.7838, 0.6973, 0.7312, 0.7445, 0.6172),
    "CAT-K": (0.7381, 0.7191, 0.6862, 0.7520, 0.7581, 0.8582, 0.8256, 0.6140),
    "SMART": (0.7383, 0.7175, 0.6862, 0.7489, 0.7602, 0.8619, 0.8280, 0.6150),
    "RosettaSim": (0.7624, 0.7846, 0.7870, 0.7821, 0.7414, 0.9176, 0.7663, 0.6089),
}
"""RMM-F1, flow, #enter, #exit, behaviour, kinematic, interactive, map-based."""
ROUNDED = 1.01e-4
"""Both tables have four digits."""
LOGGED = np.array([0.6852, 0.2280, 0.0623, 0.0175, 0.0069])


@pytest.mark.parametrize("model", TABLE_7)
def test_table_7_follows_from_table_9(model: str) -> None:
    f1, flow, enter, leave, behaviour, *buckets = TABLE_7[model]
    found = behaviour_buckets(dict(zip(COLUMNS, TABLE_9[model], strict=True)))
    assert [found[name] for name in ("kinematic", "interactive", "map")] == pytest.approx(buckets, abs=ROUNDED)
    assert found["behaviour"] == pytest.approx(behaviour, abs=ROUNDED)
    assert flow_realism(enter, leave) == pytest.approx(flow, abs=ROUNDED)
    assert rmm_f1(found["behaviour"], flow_realism(enter, leave)) == pytest.approx(f1, abs=ROUNDED)


def test_h2_nobody_enters() -> None:
    nobody = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    assert js_divergence(nobody, LOGGED) == pytest.approx(0.12385, abs=1e-4)
    assert js_score(nobody, LOGGED) == pytest.approx(0.8213, abs=1e-4)
    # Algorithm 2 adds .1 to each bin; a window of 8 s has 16 half seconds.
    assert js_score(masses(np.array([16, 0, 0, 0, 0])), LOGGED) == pytest.approx(0.863, abs=5e-4)
    assert -(LOGGED * np.log(LOGGED)).sum() == pytest.approx(0.874, abs=1e-3)


def test_h3_who_enters_at_the_border_alone_beats_the_log() -> None:
    # Ten bins with the four printed masses and the printed entropy: the rest is split so that it comes out.
    ends = np.array([0.0013, 0.0078, 0.1701, 0.3371])
    share = np.linspace(0, 1, 20_001)[1:-1]
    rest = 1 - ends.sum()
    others = np.stack([share * rest / 3] * 3 + [(1 - share) * rest / 3] * 3, -1)
    entropy = -(ends * np.log(ends)).sum() - (others * np.log(others)).sum(-1)
    logged = np.concatenate([ends[:2], others[np.abs(entropy - 1.849).argmin()], ends[2:]])
    counts = np.round(logged * 10_000_000).astype(np.int64)
    assert likelihood(counts, logged) == pytest.approx(0.157, abs=5e-4)
    assert likelihood(np.eye(10, dtype=np.int64)[9], logged) == pytest.approx(0.3371)
