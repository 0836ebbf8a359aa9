"""What could go wrong: adversary generators, their objectives and their learned motion prior."""
