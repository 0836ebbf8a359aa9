"""Measurements of speed, equality with stock MetaDrive, attack latency and memory."""
