"""Public conformance checks: whether a component keeps its contract (`harness.interfaces`).

Each check raises `harness.errors.ConformanceError` naming the component, the broken rule and what was found, and
returns None where all is well. They run over every registered name in Gauntlet's own tests; run them on yours:

    from harness.checks import check_adversary
    check_adversary(MyAdversary(), scenarios)
"""

from harness.checks.adversary import check_adversary
from harness.checks.curriculum import check_curriculum
from harness.checks.env import check_env
from harness.checks.policy import check_policy
from harness.checks.traffic import check_traffic
from harness.checks.vector import check_vector_env

__all__ = ["check_adversary", "check_curriculum", "check_env", "check_policy", "check_traffic", "check_vector_env"]
