"""The folder of a run, and the data that a run reads."""
