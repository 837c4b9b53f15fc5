"""Run folders: claimed, locked, their status, and how they are found again."""
