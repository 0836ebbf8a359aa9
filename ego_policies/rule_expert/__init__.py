"""SAGE's rule-based expert: two PID controllers under a safety layer that looks ahead."""

from ego_policies.rule_expert.config import RuleExpertConfig
from ego_policies.rule_expert.policy import BlindRuleExpertPolicy, RuleExpertPolicy

__all__ = ["BlindRuleExpertPolicy", "RuleExpertConfig", "RuleExpertPolicy"]
