"""Adversaries that descend a differentiable vehicle model: KING and AdvTrajOpt."""
