"""Data of which each of several processes has a part."""
