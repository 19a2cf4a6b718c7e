"""Split records that are longer than the maximum input of a model."""
