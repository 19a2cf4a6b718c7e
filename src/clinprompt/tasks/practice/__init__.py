"""Synthetic clinical notes with known answers."""
