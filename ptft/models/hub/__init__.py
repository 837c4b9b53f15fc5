"""Wrappers of other libraries' models, and their public weights."""
