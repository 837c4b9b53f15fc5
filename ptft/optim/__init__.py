"""Optimizers, parameter groups, schedules and averaged weights."""
