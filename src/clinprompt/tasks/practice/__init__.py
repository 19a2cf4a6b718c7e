"""Made-up clinical notes with known answers."""
