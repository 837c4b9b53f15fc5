"""Run folders: claimed, locked, described, found again."""
