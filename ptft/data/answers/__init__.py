"""Answers to new items as files that others read, and as pictures."""
