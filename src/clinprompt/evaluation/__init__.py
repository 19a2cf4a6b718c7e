"""Turn answers into scores, intervals, cells and reports. Knows nothing of training."""
