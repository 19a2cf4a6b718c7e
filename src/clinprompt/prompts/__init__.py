"""Prompts as trained vectors: plain, decomposed, saved. Never imports a model."""
