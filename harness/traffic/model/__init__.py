"""The SMART traffic model: network, cached roll-outs, weights."""

from harness.traffic.model.config import SIZES, SmartConfig
from harness.traffic.model.rollout import Rollout
from harness.traffic.model.smart import SmartModel

__all__ = ["SIZES", "Rollout", "SmartConfig", "SmartModel"]
