"""The harvester: book metadata from publishers' pages."""
