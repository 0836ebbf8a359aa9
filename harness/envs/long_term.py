"""The registered environment of long episodes in traffic that comes and goes."""

from __future__ import annotations

from typing import Final, Unpack

from harness.envs.suite import Data, Options, Others, SuiteEnv, documented

LONG_TERM: Final = 311
"""Steps of a long-term episode (RosettaSim §6.1: 31.1 s)."""


@documented
class LongTermEnv(SuiteEnv):
    """Gymnasium environment.

    ## Description
    `Gauntlet/LongTerm-v0`: half a minute in traffic that comes and goes. Vehicles enter and leave the map as `traffic`
    lets them, the ego's route goes on along the lanes where its log ends, and nobody attacks. The ego does not arrive:
    where the map ends the episode is truncated, and `info["end_of_map"]` is True.

    {spaces}

    ## Arguments
    `gymnasium.make("Gauntlet/LongTerm-v0", traffic="idm-flow?inflow=300", horizon=311)`

    {arguments}
    - `traffic` (default `"idm-flow"`): the background policy, one that lets agents enter.
    - `horizon` (default 311 here): 1.1 s and 30 s.

    `reset(options=...)` knows `scenario` (index or id).

    ## Version History
    - v0: first release.
    """

    def __init__(
        self,
        data: Data = "procedural",
        split: str | None = None,
        *,
        traffic: str = "idm-flow",
        **options: Unpack[Options],
    ) -> None:
        """Open data and engine (arguments: see the class)."""
        options.setdefault("horizon", LONG_TERM)
        super().__init__(data, split, Others(traffic), **options)
