"""The groups of settings, and the settings of a whole run."""
