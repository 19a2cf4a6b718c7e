"""Losses, optimizer, the one loop, checkpoints and the run's log. Knows nothing of methods."""
