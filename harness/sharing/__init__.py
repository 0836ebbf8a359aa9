"""Policies, experts, weights, attack sets and runs to and from the Hugging Face hub, and submissions to a leaderboard.

Nothing that is shared can run code: weights are safetensors, scenes are safetensors made of their arrays, everything
else is text.
"""
