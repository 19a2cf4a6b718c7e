"""The frozen language model: loading it, and the one place where a prompt meets it."""
