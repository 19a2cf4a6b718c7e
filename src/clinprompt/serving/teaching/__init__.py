"""Teach tasks from the page: notes, corrections, adaptations and prompts of each. Knows no HTTP."""
