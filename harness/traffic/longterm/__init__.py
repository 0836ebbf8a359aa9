"""Long roll-outs: agents enter and leave, and nobody is compared with its own log."""
