"""Command lines that are more than one call."""
