"""Losses, optimizer, the training loop, checkpoints and the log. Knows nothing of methods."""
