"""`seal`: a learned choice among futures, and reactive, skill-based control just before contact."""
