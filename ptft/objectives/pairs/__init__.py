"""Objectives of pairs: a picture and what is said of it."""
