"""Supervised objectives."""
