"""Loggers that are told in a process of their own: a library may take long to import, print, wait or fail."""
