"""Training of learned traffic: what is learnt from, objectives, stages and their loops."""
