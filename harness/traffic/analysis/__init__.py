"""Analyses of learned traffic: how often its tokens occur, and where its sequence model looks."""
