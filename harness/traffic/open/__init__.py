"""What models of traffic that comes and goes share: decisions, newcomers, the roll-out, and the policy around them."""
