"""Objectives: what is asked of a batch, one file each."""
