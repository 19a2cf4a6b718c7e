"""Intervals, significance tests and summaries of scores."""
