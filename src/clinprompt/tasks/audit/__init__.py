"""Check what the records of a task contain."""
