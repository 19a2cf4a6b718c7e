"""The methods of a comparison: what each one trains, and where it starts."""
