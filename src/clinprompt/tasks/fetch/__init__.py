"""Fetch the files of public tasks and verify them."""
