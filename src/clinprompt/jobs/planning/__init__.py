"""Estimate what a run needs before it starts."""
