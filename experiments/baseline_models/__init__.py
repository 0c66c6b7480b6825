"""Models that others use for the same data."""
