"""Published numbers to set beside a run that is made as published: SAGE's tables 1, 2, 6 and 7 (its own test split)."""

from __future__ import annotations

from typing import Final, NamedTuple


class PublishedTable(NamedTuple):
    """One table of the paper.

    Attributes:
        title: Which one, and against what.
        rows: By adversary label as written here: numbers in the order of `columns.SAGE_COLUMNS`, success in percent.
    """

    title: str
    rows: dict[str, tuple[float, ...]]


SAGE_TABLES: Final[dict[str, PublishedTable]] = {
    "replay": PublishedTable(
        "SAGE, table 1 (Replay)",
        {
            "rule": (100.00, 5.048, 2.798, 5.614, 1.734, 7.724, 2.080, 8.546, 0.204),
            "cat": (94.85, 3.961, 8.941, 3.143, 2.466, 9.078, 1.556, 7.233, 0.225),
            "king": (40.85, 2.243, 5.883, 3.434, 3.126, 6.056, 0.972, 255.5, 0.098),
            "adv_traj_opt": (70.46, 2.652, 4.500, 2.775, 2.547, 10.16, 1.754, 6.177, 0.268),
            "seal": (63.93, 1.269, 3.017, 2.423, 2.732, 11.612, 1.544, 6.959, 0.202),
            "sage@0.0": (16.26, 1.065, 0.332, 1.998, 0.677, 0.948, 1.459, 9.313, 0.054),
            "sage@0.5": (50.41, 2.523, 0.483, 2.064, 0.755, 0.949, 1.521, 8.471, 0.079),
            "sage@1.0": (76.15, 4.121, 1.429, 2.479, 0.731, 1.084, 2.098, 8.088, 0.184),
        },
    ),
    "td3": PublishedTable(
        "SAGE, table 2 (RL)",
        {
            "rule": (65.57, 2.761, 2.180, 113.7, 1.803, 6.148, 10.85, 13.47, 0.336),
            "cat": (30.33, 1.319, 8.191, 3.039, 2.623, 6.967, 1.539, 8.877, 0.187),
            "king": (19.14, 1.148, 2.041, 2.596, 3.114, 5.857, 0.983, 259.1, 0.097),
            "adv_traj_opt": (19.40, 0.992, 4.542, 2.779, 2.459, 9.973, 1.749, 6.187, 0.269),
            "seal": (31.40, 0.752, 5.871, 2.684, 3.030, 11.98, 1.563, 8.267, 0.267),
            "sage@0.0": (11.20, 0.722, 0.332, 2.000, 0.738, 0.956, 1.456, 9.344, 0.055),
            "sage@0.5": (13.66, 0.819, 0.496, 2.066, 0.820, 0.820, 1.515, 8.475, 0.080),
            "sage@1.0": (28.42, 1.400, 1.468, 2.496, 0.792, 1.366, 2.098, 8.114, 0.188),
        },
    ),
    "rule_expert": PublishedTable(
        "SAGE, table 6 (Rule-based/Autopilot)",
        {
            "rule": (24.18, 0.724, 2.623, 111.184, 1.658, 6.386, 7.631, 10.572, 0.248),
            "cat": (18.21, 0.659, 8.346, 3.071, 2.799, 9.647, 1.565, 7.781, 0.201),
            "king": (16.43, 0.558, 2.445, 2.565, 3.116, 5.807, 0.956, 256.921, 0.097),
            "adv_traj_opt": (19.00, 0.543, 4.445, 2.818, 2.567, 10.833, 1.753, 6.207, 0.271),
            "seal": (19.45, 1.584, 4.902, 2.584, 3.260, 9.178, 1.494, 6.756, 0.248),
            "sage@0.0": (4.89, 0.397, 0.332, 2.000, 0.707, 0.951, 1.460, 9.332, 0.055),
            "sage@0.5": (11.14, 0.466, 0.497, 2.068, 0.815, 0.951, 1.523, 8.482, 0.080),
            "sage@1.0": (19.84, 0.749, 1.430, 2.480, 0.788, 1.087, 2.100, 8.100, 0.185),
        },
    ),
    "idm": PublishedTable(
        "SAGE, table 7 (IDM)",
        {
            "rule": (60.54, 2.763, 4.833, 36.947, 1.973, 6.856, 4.466, 8.447, 0.309),
            "cat": (43.48, 1.746, 10.275, 3.207, 3.345, 8.696, 1.595, 7.550, 0.231),
            "king": (16.48, 1.146, 2.451, 2.566, 3.097, 5.824, 0.955, 257.619, 0.097),
            "adv_traj_opt": (20.44, 0.963, 4.528, 2.797, 2.561, 10.354, 1.750, 6.173, 0.270),
            "seal": (33.70, 0.942, 5.785, 2.719, 3.562, 11.233, 1.695, 7.368, 0.276),
            "sage@0.0": (13.90, 0.864, 0.332, 2.000, 0.708, 0.954, 1.461, 9.318, 0.055),
            "sage@0.5": (20.98, 1.183, 0.498, 2.068, 0.817, 0.954, 1.522, 8.458, 0.080),
            "sage@1.0": (33.51, 1.779, 1.433, 2.480, 0.790, 1.090, 2.098, 8.070, 0.185),
        },
    ),
}
"""By registry name of the system under test."""


def published_row(system: str, adversary: str, intensity: float) -> tuple[float, ...] | None:
    """The paper's numbers for one cell, or None.

    Args:
        system: Registry name (or label) of the system under test.
        adversary: Registry name (or label).
        intensity: λ; only SAGE's rows depend on it.
    """
    table = SAGE_TABLES.get(system)
    if table is None:
        return None
    name = f"sage@{intensity:.1f}" if adversary.partition("@")[0] == "sage" else adversary
    return table.rows.get(name)
