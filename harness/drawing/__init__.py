"""Pictures of scenes, attacks, roll-outs and training runs."""
