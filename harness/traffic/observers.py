"""Who watches traffic, as it is named on a command line."""

from __future__ import annotations

from typing import Literal

Observer = Literal["ego", "middle"]
"""The ego, or somebody fixed in the middle of what was recorded, who looks along the world's +x."""
