"""Motion and map tokens: vocabularies, and from scenes to tokens and back."""

from harness.traffic.tokens.vocabulary import Vocabulary

__all__ = ["Vocabulary"]
