"""Saying of every pixel which class it is of."""
