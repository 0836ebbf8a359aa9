"""Training an ego: TD3, its replay memory, the loop, checkpoints and evaluation."""
