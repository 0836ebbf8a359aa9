"""Pure functions on arrays: what happened, and how real it was."""
