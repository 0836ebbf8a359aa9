"""Fidelity certificates of background traffic: how lifelike it is, how it reacts, and whether it changes rankings."""
