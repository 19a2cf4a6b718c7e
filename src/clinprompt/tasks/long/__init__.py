"""Split records that are longer than a model can read."""
