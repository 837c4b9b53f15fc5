"""Objectives: what is asked of a batch, one file each, by whether and how they use labels."""
