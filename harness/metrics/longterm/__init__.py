"""Realism of traffic over minutes, in which agents enter and leave: flow, behaviour, RMM-F1, retrieval.

Source: Xiao, Feng and Yan, "Long-term Traffic Simulation via Structured Autoregressive Modeling" (RosettaSim). Its grid
and its flow are those of InfGen: Yang, Tan and Krähenbühl, "Long-term Traffic Simulation with Interleaved
Autoregressive Motion and Scenario Generation", 2025.

Pure functions on arrays. The features of behaviour are those of `harness.metrics.wosac`, counted over windows.
"""
