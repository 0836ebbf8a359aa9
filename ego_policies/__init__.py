"""Who is tested: replay, IDM, TD3, and adapters for a user's own policy."""
