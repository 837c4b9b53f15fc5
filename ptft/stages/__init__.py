"""Stages: what `stage=` runs, one file each."""
