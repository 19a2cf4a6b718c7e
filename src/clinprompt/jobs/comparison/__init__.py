"""Compare methods on target tasks over shots and seeds."""
