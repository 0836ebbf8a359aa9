"""Metrics: pure functions on arrays, batched over leading dimensions.

Trajectories are `[..., T, STATE]` arrays with `valid` `[..., T]`, indexed by absolute step (see
`harness.interfaces`). A value that is undefined (too few valid steps) is NaN, never zero, so that
missing evidence cannot pass for a good score.
"""
