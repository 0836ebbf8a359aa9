"""A goal-conditioned probabilistic motion prior, DenseTNT-like, small enough for one CPU core.

Paper: Gu et al., *DenseTNT: End-to-end Trajectory Prediction from Dense Goal Sets*, ICCV 2021. The encoder, the goal
candidates and the drivable completion here are our own: goals lie on the lane graph and on an off-lane fan, and a
trajectory is a roll-out of bounded controls.
"""
