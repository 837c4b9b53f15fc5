"""Backbones for texts."""
