"""`vulnerable`: pedestrians and cyclists as attackers."""
