"""Answer any task of a store over HTTP, from one copy of the model."""
