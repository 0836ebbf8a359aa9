"""One episode: attack it, play it, record it, read it back."""
