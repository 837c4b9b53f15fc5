"""Loggers: who is told what a run does."""
