"""Invented clinical notes with known answers."""
