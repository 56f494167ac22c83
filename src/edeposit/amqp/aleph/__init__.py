"""The library catalogue."""
