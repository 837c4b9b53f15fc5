"""Stages: what `stage=` runs, a file or a folder each, and what they print."""
