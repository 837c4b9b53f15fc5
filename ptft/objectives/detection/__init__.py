"""Finding objects: their boxes and their classes."""
