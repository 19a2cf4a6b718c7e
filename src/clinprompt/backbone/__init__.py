"""The frozen language model: load it, and apply prompts to it."""
