"""Loggers: the console, files and services that are told what a run does."""
