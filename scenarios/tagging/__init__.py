"""Tags of scenes by stated rules: the road, what the ego does, how others meet it, and which rules of the road bind."""
