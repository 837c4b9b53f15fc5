"""Backbones for recordings."""
