"""Names of adversaries, policies, curricula, traffic, backbones and sequence models, lazily resolved to a class.

Third parties add theirs by an entry point in the group `gauntlet.<kind>` (for example
`gauntlet.adversary`), so that `--adversary theirs` works everywhere without touching Gauntlet.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from harness.errors import ConfigError, UnknownNameError, foreign

RegistryKind = Literal["adversary", "policy", "curriculum", "traffic", "backbone", "sequence_model"]

BUILTIN: Final[dict[RegistryKind, dict[str, str]]] = {
    "adversary": {
        "none": "adversaries.none:NoAdversary",
        "rule": "adversaries.rule:RuleAdversary",
        "cat": "adversaries.cat:CatAdversary",
        "sage": "adversaries.sage.adversary:SageAdversary",
        "sage_replan": "adversaries.sage.replan:ReplanningSageAdversary",
        "sage_smart": "adversaries.sage.smart:sage_smart",
        "seal": "adversaries.seal.adversary:SealAdversary",
        "king": "adversaries.gradient.king:KingAdversary",
        "adv_traj_opt": "adversaries.gradient.adv_traj_opt:AdvTrajOptAdversary",
        "vulnerable": "adversaries.vulnerable.adversary:VulnerableAdversary",
    },
    "policy": {
        "replay": "ego_policies.replay:ReplayPolicy",
        "idm": "ego_policies.idm:IDMPolicy",
        "rule_expert": "ego_policies.rule_expert:RuleExpertPolicy",
        "rule_expert_blind": "ego_policies.rule_expert:BlindRuleExpertPolicy",
        "route_follower": "ego_policies.route_follower:RouteFollowerPolicy",
        "td3": "ego_policies.td3:TD3Policy",
        "ppo": "ego_policies.ppo:PPOPolicy",
        "sac": "ego_policies.sac:SACPolicy",
        "sb3": "ego_policies.sb3:SB3Policy",
        "torchscript": "ego_policies.adapters:TorchScriptPolicy",
        "onnx": "ego_policies.adapters:OnnxPolicy",
        "callable": "ego_policies.adapters:CallablePolicy",
        "tracked": "ego_policies.tracked:TrackedPolicy",
        "sensed": "ego_policies.sensed:SensedPolicy",
        "external": "ego_policies.external.policy:ExternalPolicy",
    },
    "curriculum": {
        "constant": "curricula.constant:ConstantCurriculum",
        "cat": "curricula.cat:CatCurriculum",
        "dual_axis": "curricula.dual_axis:DualAxisCurriculum",
        "frequency_axis": "curricula.dual_axis:FrequencyAxisCurriculum",
        "intensity_axis": "curricula.dual_axis:IntensityAxisCurriculum",
        "adaptive": "curricula.adaptive:AdaptiveCurriculum",
        "regret": "curricula.regret:RegretCurriculum",
    },
    "traffic": {
        "log": "harness.traffic.log_policies:LogTraffic",
        "constant_velocity": "harness.traffic.log_policies:ConstantVelocityTraffic",
        "idm-path": "harness.traffic.log_policies:PathIDMTraffic",
        "idm-lane": "harness.traffic.lane_idm:LaneIDMTraffic",
        "idm-flow": "harness.traffic.lane_flow:LaneFlowTraffic",
        "smart": "harness.traffic.policy:SmartTraffic",
        "rosetta": "harness.traffic.rosetta.policy:RosettaTraffic",
        "infgen": "harness.traffic.infgen.policy:InfGenTraffic",
    },
    "backbone": {
        "smart": "adversaries.sage.smart_backbone:SmartBackbone",
    },
    "sequence_model": {
        "transformer": "harness.traffic.rosetta.sequence_model:CausalTransformer",
        "smollm2": "harness.traffic.rosetta.language_model:SmolLM2",
        "language": "harness.traffic.rosetta.language_model:FolderLanguageModel",
    },
}


def targets(kind: RegistryKind) -> dict[str, str]:
    """Every registered name of `kind` with its `"module:Class"` target, third parties included.

    Raises:
        ConfigError: A third party claims a built-in name.
    """
    found = dict(BUILTIN[kind])
    for point in entry_points(group=f"gauntlet.{kind}"):
        if point.name in found and found[point.name] != point.value:
            raise ConfigError(
                f"{kind} {point.name!r} is registered twice: {found[point.name]} and {point.value}. Rename one."
            )
        found[point.name] = point.value
    return found


def names(kind: RegistryKind) -> tuple[str, ...]:
    """Registered names of `kind`, sorted."""
    return tuple(sorted(targets(kind)))


def resolve(kind: RegistryKind, name: str) -> Callable[..., Any]:
    """The class behind a name, or behind a literal `"module:Class"`.

    Raises:
        UnknownNameError: The name is not registered.
        ConfigError: The target cannot be imported or does not exist.
    """
    table = targets(kind)
    target = table.get(name, name)
    if ":" not in target:
        raise UnknownNameError(kind, name, table)
    module_name, _, attribute = target.partition(":")
    try:
        with foreign(
            f"{kind} {name!r} points to {target!r}, whose import failed", ConfigError, (ImportError, AttributeError)
        ):
            return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]
        hint = " Is its folder on PYTHONPATH?" if missing else ""
        raise ConfigError(f"{kind} {name!r} points to {target!r}, which cannot be loaded: {error}.{hint}") from error


def make(kind: RegistryKind, name: str, **options: Any) -> Any:
    """Build the component registered as `name`, with its own options."""
    return resolve(kind, name)(**options)
