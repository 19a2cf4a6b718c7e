"""Draft a task folder from a user's own data."""
