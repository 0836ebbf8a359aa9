"""Gymnasium suite. Importing this package (or `gymnasium`, through its plugin entry point) registers the ids."""

from __future__ import annotations
