"""Motion and map tokens: vocabularies, and from scenes to tokens and back."""
