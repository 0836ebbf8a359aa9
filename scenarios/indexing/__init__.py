"""The index of a folder: what is known of every scene, made once and kept in the user's cache."""
